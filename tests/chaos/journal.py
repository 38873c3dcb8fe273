"""What the client saw: one line before each call, one after each answer, on the disk before it is acted upon."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Journal:
    """`write` returns once the line is synced; lines of the same moment share one sync."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def write(self, **entry: Any) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._lines.put((json.dumps({"at": time.time(), **entry}).encode() + b"\n", done))
        await done

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        while (first := self._lines.get()) is not None:
            batch, last = [first], False
            while not self._lines.empty() and not last:
                more = self._lines.get()
                last = more is None
                if more is not None:
                    batch.append(more)
            os.write(self._descriptor, b"".join(line for line, _ in batch))
            os.fdatasync(self._descriptor)
            self._loop.call_soon_threadsafe(_resolve, [done for _, done in batch])
            if last:
                return


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass
class Account:
    """The journal, read for its questions. Submits are known by their number `n`."""

    tried: set[int] = field(default_factory=set)
    promised: dict[int, set[str]] = field(default_factory=dict)
    """Ids of the 202s."""
    promised_at: dict[int, float] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    """Submits that were answered by a 4xx, with the status."""
    cancelled: set[str] = field(default_factory=set)
    """Jobs whose cancel was answered by a 202."""
    poisoned: set[tuple[int, int]] = field(default_factory=set)
    """(partition, offset) of records that no executor can read, acknowledged by Kafka."""
    uploaded: dict[str, str] = field(default_factory=dict)
    """File ids whose last byte was acknowledged, with their SHA-256."""
    unanswered: int = 0
    """Calls that ended without an answer: their outcome is unknown."""

    @property
    def ids(self) -> set[str]:
        return {job_id for ids in self.promised.values() for job_id in ids}


def account(entries: Iterable[dict[str, Any]]) -> Account:
    found = Account()
    for entry in entries:
        kind, status = entry["do"], entry.get("status")
        if status is None and kind != "poisoned":
            if kind == "submit":
                found.tried.add(entry["n"])
        elif status == 0:
            found.unanswered += 1
        elif kind == "submit" and status == 202:
            found.promised.setdefault(entry["n"], set()).add(entry["job_id"])
            found.promised_at.setdefault(entry["n"], entry["at"])
        elif kind == "submit" and 400 <= status < 500 and status != 429:
            found.refused[entry["n"]] = status
        elif kind == "cancel" and status == 202:
            found.cancelled.add(entry["job_id"])
        elif kind == "upload" and status == 204:
            found.uploaded[entry["file_id"]] = entry["sha256"]
        elif kind == "poisoned":
            found.poisoned.add((entry["partition"], entry["offset"]))
    return found
