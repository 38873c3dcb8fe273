"""An async attempt: the tool's context, seen from the worker. The tool may speak from threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from jobyard.author.errors import CANCEL, SOFT_LIMIT

from jobyard_executor.worker import failures
from jobyard_executor.worker.attempt import Attempt
from jobyard_executor.worker.capture import encode_fields, encode_progress
from jobyard_executor.worker.family import told
from jobyard_executor.worker.messages import Start


class Host(Protocol):
    """The worker, as far as an attempt needs it."""

    def on_loop(self, act: Callable[[], None]) -> None: ...

    def has_output(self, running: Running) -> None: ...


class Running(Attempt):
    """An attempt whose tool is a task of this loop, and what its context stands on."""

    def __init__(self, start: Start, worker: Host) -> None:
        super().__init__(start)
        self.worker = worker
        self.task: asyncio.Task[None] | None = None
        self.entered = False
        self.over = False
        self.revoke_at: float | None = None

    def due(self) -> float:
        times = [super().due()]
        if self.revoke_at is not None:
            times.append(self.revoke_at)
        return min(times)

    def emit(self, stream: str, message: str, *, level: str | None, fields: Mapping[str, Any]) -> None:
        encoded = encode_fields(fields)
        self.worker.on_loop(partial(self._say, stream, str(message), level, encoded))

    def progress(self, done: float, total: float | None, note: str | None) -> None:
        self.worker.on_loop(partial(self._move, encode_progress(done, total, note)))

    def input_path(self, slot: str) -> Path:
        return self.folder.input_path(slot)

    def output_path(self, name: str) -> Path:
        return self.folder.output_path(name)

    def submit(self, body: bytes) -> str:
        return told(self.family.add, body)

    def stop_requested(self) -> str | None:
        if self.hard or self.stop == failures.STOP_REVOKED:
            return None
        if self.stop is not None:
            return CANCEL
        return SOFT_LIMIT if self.soft else None

    def printed(self, stream: str, data: bytes) -> None:
        self.worker.on_loop(partial(self._print, stream, data))

    def _say(self, stream: str, message: str, level: str | None, fields: bytes | None) -> None:
        self.capture.said(stream, message, level=level, fields=fields)
        self.worker.has_output(self)

    def _move(self, progress: bytes) -> None:
        if not self.over:
            self.capture.moved(progress)
            self.worker.has_output(self)

    def _print(self, stream: str, data: bytes) -> None:
        self.capture.printed(stream, data)
        self.worker.has_output(self)
