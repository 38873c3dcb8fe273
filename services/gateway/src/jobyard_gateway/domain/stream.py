"""The order of one job's stream, and the ids of its events.

Two topics tell of a job: events (numbered) and outputs (lines and progress, numbered by `seq` = attempt · 10^9 + n).
Each event says how far the outputs had come before it, so there is one order that every reader sees: the outputs up to
an event's `output_seq`, then the event. An id is the position after its event in both: `incarnation.event_no.seq`,
with a fourth part for the two things that follow the last event. Whoever resumes there misses nothing and gets nothing
twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from jobyard_common.contracts.jobs import TERMINAL
from jobyard_common.contracts.output import OutputLine, OutputPack, Stream
from jobyard_common.contracts.wire import rfc3339

ATTEMPT = 10**9
OUTPUT_WAIT_S, END_WAIT_S = 1.0, 5.0
"""How long an event waits for the outputs before it, and how long the last one does."""
_ENDS = frozenset(state.value for state in TERMINAL)
_ID = re.compile(r"(\d{1,20})\.(\d{1,10})\.(\d{1,20})(?:\.([12]))?")
RESULT, END = 1, 2
STATE_EVENT, PROGRESS_EVENT, LOG_EVENT = "job.state", "job.progress", "job.log"
RESULT_EVENT, END_EVENT = "job.result", "stream.end"


class Position(NamedTuple):
    """Everything up to here was sent. `tail` is 1 after the result, 2 after the end."""

    incarnation: int = 0
    event_no: int = 0
    seq: int = 0
    tail: int = 0

    def text(self) -> str:
        return f"{self.incarnation}.{self.event_no}.{self.seq}" + (f".{self.tail}" if self.tail else "")


def position(text: str | None) -> Position:
    """The position in a `Last-Event-ID`; the beginning if it is none of ours."""
    found = _ID.fullmatch(text or "") if len(text or "") < 64 else None
    return Position(*(int(part or 0) for part in found.groups())) if found else Position()


class Row(msgspec.Struct):
    """One row of the lifecycle; `raw` is what clients get."""

    seq: int
    state: str | None = None
    attempt: int = 0
    incarnation: int = 0
    output_seq: int | None = None
    raw: bytes = b""

    @property
    def ends(self) -> bool:
        return self.state in _ENDS

    @property
    def before(self) -> int:
        """The last output before this event; where it isn't told, all outputs of an attempt lie before its end."""
        if self.output_seq is not None:
            return self.output_seq
        if self.attempt == 0:
            return 0
        running = self.state in ("running", "cancelling")
        return self.attempt * ATTEMPT if running else (self.attempt + 1) * ATTEMPT - 1


class Output(NamedTuple):
    """One line or progress, ready to be sent."""

    seq: int
    event: str
    data: bytes


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next_cursor: str | None = None
    has_more: bool = False


class _LogRow(msgspec.Struct):
    seq: int


def rows_of(page: bytes) -> tuple[list[Row], str | None]:
    """Rows of a page of the lifecycle and the cursor of the next page."""
    found = msgspec.json.decode(page, type=_Page)
    rows = []
    for raw in found.data:
        row = msgspec.json.decode(raw, type=Row)
        row.raw = bytes(raw)
        rows.append(row)
    return rows, found.next_cursor if found.has_more else None


def logs_of(page: bytes) -> tuple[list[Output], str | None]:
    """Lines of a page of the monitor's log and the cursor of the next page."""
    found = msgspec.json.decode(page, type=_Page)
    lines = [Output(msgspec.json.decode(raw, type=_LogRow).seq, LOG_EVENT, bytes(raw)) for raw in found.data]
    return lines, found.next_cursor if found.has_more else None


def outputs_of(pack: OutputPack) -> Iterator[Output]:
    for line in pack.lines:
        if line.stream is Stream.PROGRESS:
            yield Output(line.seq, PROGRESS_EVENT, _progress(line))
        else:
            yield Output(line.seq, LOG_EVENT, _log(line, pack.attempt))


def frame(event: str, place: Position, data: bytes) -> bytes:
    return f"id: {place.text()}\nevent: {event}\ndata: ".encode() + data.replace(b"\n", b"\ndata: ") + b"\n\n"


class Merge:
    """Puts rows and outputs into their one order, beginning after a position."""

    def __init__(self, after: Position) -> None:
        self.at = after
        self._rows: dict[int, Row] = {}
        self._outputs: dict[int, Output] = {}
        self._expected: dict[int, int] = {}
        self._seen = 0
        self.last: Row | None = None

    def add_row(self, row: Row) -> None:
        """Notes on the timeline have no state; they stand beside the order and are not sent."""
        if row.state is None:
            return
        if self.last is None or row.seq > self.last.seq:
            self.last = row
        if row.seq > self.at.event_no:
            self._rows[row.seq] = row

    def add_output(self, output: Output) -> None:
        if output.seq > self.at.seq:
            self._outputs[output.seq] = output

    def expect(self, event_no: int, output_seq: int) -> None:
        """An event told how far the outputs had come before it."""
        if event_no > self.at.event_no:
            self._expected[event_no] = output_seq

    def seen(self, seq: int) -> None:
        """Whatever there is up to this output was added."""
        self._seen = max(self._seen, seq)

    @property
    def awaited(self) -> int | None:
        """The output that should come before the next row and has not been seen; None if nothing is missing."""
        row = self._next_row()
        if row is None:
            return None
        wanted = row.output_seq if row.output_seq is not None else self._expected.get(row.seq, 0)
        return None if wanted <= max(self.at.seq, self._seen) or wanted in self._outputs else wanted

    @property
    def patience_s(self) -> float:
        """How long the next row waits for outputs."""
        row = self._next_row()
        return END_WAIT_S if row is not None and row.ends else OUTPUT_WAIT_S

    @property
    def finished(self) -> bool:
        """The last event was sent, and what comes after it may follow."""
        return self.last is not None and self.last.ends and self.last.seq <= self.at.event_no

    def ready(self, *, waited_s: float) -> Iterator[tuple[str, Position, bytes]]:
        """What can be sent now. Rows whose outputs are missing are held back until they have waited long enough."""
        while (row := self._next_row()) is not None and (self.awaited is None or waited_s >= self.patience_s):
            yield from self._lines(upto=row.before)
            self.at = Position(row.incarnation, row.seq, max(self.at.seq, row.before))
            del self._rows[row.seq]
            yield STATE_EVENT, self.at, row.raw
        if not self._rows and self.last is not None:
            # Lines of an attempt whose start was not told yet wait for it.
            yield from self._lines(upto=(self.last.attempt + 1) * ATTEMPT - 1)

    def _next_row(self) -> Row | None:
        return self._rows[min(self._rows)] if self._rows else None

    def _lines(self, *, upto: int) -> Iterator[tuple[str, Position, bytes]]:
        for seq in sorted(seq for seq in self._outputs if seq <= upto):
            output = self._outputs.pop(seq)
            if seq > self.at.seq:
                incarnation = self.at.incarnation or (self.last.incarnation if self.last else 0)
                self.at = Position(incarnation, self.at.event_no, seq)
                yield output.event, self.at, output.data


def _progress(line: OutputLine) -> bytes:
    members = msgspec.json.decode(line.fields or b"{}", type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**members, "at": rfc3339(line.at)})


def _log(line: OutputLine, attempt: int) -> bytes:
    return msgspec.json.encode(
        {
            "seq": line.seq,
            "at": rfc3339(line.at),
            "attempt": attempt,
            "stream": line.stream,
            "level": line.level,
            "message": line.message,
            "fields": line.fields,
        }
    )
