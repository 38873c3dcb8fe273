"""Remembering half-done uploads, so that another process can go on with them.

One small file an upload, named by what is uploaded where: server address, real path, inode, size and time of change.
A process holds a lock on it meanwhile; a second one that uploads the same file gets no memory and uploads afresh.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEPT_S = 7 * 86_400.0


class Memory:
    """The remembered upload of one file; `file_id` is None where there is none to go on with."""

    def __init__(self, folder: Path, *, server: str, path: Path, stat: os.stat_result) -> None:
        name = json.dumps([server, os.fsencode(path).hex(), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns])
        self._path = folder / "uploads" / f"{hashlib.sha256(name.encode()).hexdigest()}.json"
        self._descriptor: int | None = None
        self.file_id: str | None = None

    def __enter__(self) -> Memory:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return self  # a read-only home costs the resume, not the upload
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.file_id = _remembered(os.read(descriptor, 4096))
        except OSError:
            os.close(descriptor)
            return self
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is None:
            return
        if self.file_id is None:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def keep(self, file_id: str | None) -> None:
        """Remember this upload; None forgets."""
        self.file_id = file_id
        if self._descriptor is None:
            return
        content = b"" if file_id is None else json.dumps({"version": 1, "file_id": file_id}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


def sweep(folder: Path, *, now: Callable[[], float] = time.time) -> None:
    """Forget uploads that no server keeps any more."""
    for path in (folder / "uploads").glob("*.json"):
        try:
            if now() - path.stat().st_mtime > _KEPT_S:
                path.unlink()
        except OSError:
            continue


def _remembered(content: bytes) -> str | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    file_id = document.get("file_id") if isinstance(document, dict) else None
    return file_id if isinstance(file_id, str) and _FILE_ID.fullmatch(file_id) else None
