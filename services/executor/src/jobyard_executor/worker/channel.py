"""Descriptor 3 of a `command` tool: NDJSON with progress, log entries and errors, read without trusting a byte."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from jobyard_common.contracts.wire import OptionalRaw

from jobyard_executor.worker.capture import Capture, encode_fields, encode_progress
from jobyard_executor.worker.failures import pause_asked
from jobyard_executor.worker.messages import Fault
from jobyard_executor.worker.text import bounded, decode

LINE_BYTES = 64 * 1024
LEVELS = frozenset({"debug", "info", "warning", "error"})


class _Progress(msgspec.Struct):
    done: float | int = 0
    total: float | int | None = None
    note: str | None = None


class _Log(msgspec.Struct):
    message: str = ""
    level: str = "info"
    fields: dict[str, object] | None = None


class _Error(msgspec.Struct):
    message: str = ""
    code: str = "exit_code"
    retryable: bool = True
    retry_after_s: float | None = None


class _Entry(msgspec.Struct):
    progress: _Progress | None = None
    log: _Log | None = None
    error: _Error | None = None
    submit: OptionalRaw = None


_entries = msgspec.json.Decoder(_Entry)


class Channel:
    """What came so far; `error` is the last error that the tool reported. `submit` takes the children it asks for."""

    def __init__(self, submit: Callable[[bytes], None] = lambda _: None) -> None:
        self.error: Fault | None = None
        self._submit = submit
        self._open = b""
        self._skipping = False

    def feed(self, data: bytes, capture: Capture) -> None:
        *whole, self._open = (self._open + data).split(b"\n")
        for line in whole:
            if self._skipping:
                self._skipping = False
            elif line.strip():
                self._entry(line, capture)
        if len(self._open) > LINE_BYTES:
            if not self._skipping:
                self._complain(self._open, capture)
            self._skipping, self._open = True, b""

    def end(self, capture: Capture) -> None:
        if self._open.strip() and not self._skipping:
            self._entry(self._open, capture)
        self._open = b""

    def _entry(self, line: bytes, capture: Capture) -> None:
        try:
            entry = _entries.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self._complain(line, capture)
            return
        if entry.log is not None:
            level = entry.log.level if entry.log.level in LEVELS else "info"
            capture.said("log", entry.log.message, level=level, fields=encode_fields(entry.log.fields))
        if entry.progress is not None:
            capture.moved(encode_progress(entry.progress.done, entry.progress.total, entry.progress.note))
        if entry.submit is not None:
            self._submit(bytes(entry.submit))
        if entry.error is not None:
            self.error = Fault(
                code=bounded(entry.error.code, limit=128) or "exit_code",
                message=bounded(entry.error.message, limit=2048) or "the command reported an error",
                retryable=entry.error.retryable,
                retry_after_s=pause_asked(entry.error.retry_after_s),
            )

    def _complain(self, line: bytes, capture: Capture) -> None:
        """A line that is none of ours is kept where its author will find it."""
        capture.said("log", f"not understood on descriptor 3: {decode(line[:200])}", level="warning", fields=None)
