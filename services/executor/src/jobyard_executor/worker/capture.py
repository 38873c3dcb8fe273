"""Everything one attempt says, numbered without a gap and bounded: the owner of the attempt keeps one of these."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from jobyard_executor.worker.messages import Line
from jobyard_executor.worker.text import Copy, LineSplitter, bounded

MAX_LINES = 100_000
MAX_BYTES = 16 * 2**20
PROGRESS_EVERY_S = 0.5
FIELDS_BYTES = 16 * 1024

LIMIT_REACHED = f"output truncated: the limit of {MAX_LINES:,} lines or {MAX_BYTES // 2**20} MiB is reached"


class Capture:
    """Lines, log entries and progress of one attempt, waiting in `pending` until their owner sends them."""

    __slots__ = ("_bytes", "_copies", "_full", "_lines", "_progress", "_progress_sent", "_splitters", "n", "pending")

    def __init__(self) -> None:
        self.n = 0
        self.pending: list[Line] = []
        self._lines = 0
        self._bytes = 0
        self._full = False
        self._splitters: dict[str, LineSplitter] = {}
        self._copies: dict[str, Copy] = {}
        self._progress: bytes | None = None
        self._progress_sent = 0.0

    def printed(self, stream: str, data: bytes) -> None:
        """Bytes that the tool wrote to `stdout` or `stderr`."""
        splitter = self._splitters.get(stream)
        if splitter is None:
            splitter = self._splitters[stream] = LineSplitter()
            self._copies[stream] = Copy()
        self._copies[stream].feed(data)
        if not self._full:
            for line in splitter.feed(data):
                self._add(stream, line, None, None)

    def said(self, stream: str, message: str, *, level: str | None, fields: bytes | None) -> None:
        """One entry of the tool's own log."""
        self._add(stream, bounded(message), level, fields)

    def moved(self, progress: bytes) -> None:
        """A progress report; the newest waits when reports come faster than two a second."""
        self._progress = progress
        self.due()

    def due(self, *, end: bool = False) -> None:
        """Release a waiting progress report when its time has come, or at the end."""
        if self._progress is None:
            return
        now = time.monotonic()
        if end or now - self._progress_sent >= PROGRESS_EVERY_S:
            self._progress_sent = now
            fields, self._progress = self._progress, None
            self._number("progress", "", None, fields)

    @property
    def waiting(self) -> bool:
        return bool(self.pending) or self._progress is not None

    def end(self) -> None:
        """No more will come: unfinished lines and the last progress are released."""
        for stream, splitter in self._splitters.items():
            if not self._full:
                for line in splitter.end():
                    self._add(stream, line, None, None)
        self.due(end=True)

    def take(self) -> list[Line]:
        lines, self.pending = self.pending, []
        return lines

    def copies(self) -> tuple[str, str, bool]:
        """stdout, stderr, and whether either is cut."""
        if not self._copies:
            return "", "", False
        out, err = self._copies.get("stdout"), self._copies.get("stderr")
        texts = (out.text() if out else "", err.text() if err else "")
        return (*texts, any(copy.truncated for copy in self._copies.values()))

    def _add(self, stream: str, message: str, level: str | None, fields: bytes | None) -> None:
        if self._full:
            return
        size = len(message) + (len(fields) if fields else 0)
        if self._lines >= MAX_LINES or self._bytes + size > MAX_BYTES:
            self._full = True
            self._number("log", LIMIT_REACHED, "warning", None)
            return
        self._lines += 1
        self._bytes += size
        self._number(stream, message, level, fields)

    def _number(self, stream: str, message: str, level: str | None, fields: bytes | None) -> None:
        self.n += 1
        self.pending.append(Line(self.n, time.time(), stream, message, level, fields))


def _readable(value: object) -> str:
    return str(value)


_json = msgspec.json.Encoder(enc_hook=_readable)


def encode_fields(fields: Mapping[str, object] | bytes | None) -> bytes | None:
    """Fields of a log entry as JSON text of an object, bounded; what JSON has no word for becomes text."""
    if not fields:
        return None
    if isinstance(fields, bytes):
        return fields if len(fields) <= FIELDS_BYTES else _oversized(len(fields))
    try:
        encoded = _json.encode({str(key): value for key, value in fields.items()})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return _json.encode({"fields_unstorable": str(error)})
    return encoded if len(encoded) <= FIELDS_BYTES else _oversized(len(encoded))


def _oversized(size: int) -> bytes:
    return _json.encode({"fields_dropped_bytes": size})


def encode_progress(done: object, total: object, note: object) -> bytes:
    """`{"done", "total", "note"}`; a `done` that is no finite number counts as 0."""
    text = bounded(str(note), limit=1024) if note is not None else None
    return _json.encode({"done": _number_or(done, 0), "total": _number_or(total, None), "note": text})


def _number_or(value: object, otherwise: int | None) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    if value != value or value in (float("inf"), float("-inf")) or abs(value) >= 2**63:
        return otherwise
    return value
