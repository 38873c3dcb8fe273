"""What a tool has put on the disk so far: counted while it runs, so that it ends before the disk is full.

A count costs time with the number of files, so the next one waits ten times as long as the last one took.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from jobyard_executor.worker.messages import Fault
from jobyard_executor.worker.settings import Memory

EVERY_S = 1.0
BLOCK_BYTES = 512
MUCH_BYTES = 64 * 2**20
"""On a full disk, only who holds more than this has to go."""


class Footprint:
    """Watches the work dir of one attempt."""

    def __init__(self, path: str, limits: Memory) -> None:
        self._path = path
        self._limits = limits
        self._next_at = time.monotonic() + EVERY_S

    def fault(self) -> Fault | None:
        """Why the tool has to end, if it does."""
        began = time.monotonic()
        if began < self._next_at:
            return None
        found = self._judged()
        took = time.monotonic() - began
        self._next_at = began + took + max(EVERY_S, 10 * took)
        return found

    def _judged(self) -> Fault | None:
        files, size = measured(self._path, most_files=self._limits.work_files, most_bytes=self._limits.work_bytes)
        if files > self._limits.work_files:
            return _exhausted(f"the tool wrote more than {self._limits.work_files:,} files into its work dir")
        if size > self._limits.work_bytes:
            return _exhausted(f"the tool wrote more than {self._limits.work_bytes:,} bytes into its work dir")
        if size > MUCH_BYTES and _free(self._path) < self._limits.disk_reserve_bytes:
            fault = _exhausted("the disk of the work dirs is full; the tool was ended to make room")
            fault.retryable = True
            return fault
        return None


def measured(path: str, *, most_files: int, most_bytes: int) -> tuple[int, int]:
    """Entries and bytes below a folder; counting stops when either is too much. Follows no link."""
    files = size = 0
    waiting = [path]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                if files > most_files or size > most_bytes:
                    return files, size
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    size += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
    return files, size


def _free(path: str) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 2**63
    return found.f_bavail * found.f_frsize


def _exhausted(message: str) -> Fault:
    return Fault("resource_exhausted", message, retryable=False)
