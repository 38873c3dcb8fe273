"""Output lines on their way to Kafka: packed by attempt, kept in memory while the broker is away, never in PostgreSQL.

The buffer is bounded. When it is full the oldest lines are given up, and a `gap` line in their place says how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import msgspec
from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.output import MAX_PACK_BYTES, OUTPUT, OutputLine, OutputPack, Stream
from jobyard_common.contracts.topics import JOBS_OUTPUT
from jobyard_common.contracts.wire import rfc3339, utc_now
from jobyard_common.messaging.publisher import OutRecord, Publisher, PublishFailed, Sent
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger
from jobyard_common.telemetry.tracing import Tracer, send_span

from jobyard_executor.domain.assignment import Output, OutputBatch

log = get_logger("output")
BUFFER_BYTES = 16 * 1024 * 1024
LINE_OVERHEAD = 96
_encode = msgspec.json.Encoder().encode


class _Batch(msgspec.Struct):
    batch: OutputBatch
    correlation_id: str
    traceparent: str
    size: int


class OutputPump(Component):
    """Publishes what tools say, in order per attempt."""

    name = "output"

    def __init__(self, publisher: Publisher, *, source: str, tracer: Tracer, buffer_bytes: int = BUFFER_BYTES) -> None:
        super().__init__()
        self._publisher = publisher
        self._source = source.encode()
        self._tracer = tracer
        self._limit = buffer_bytes
        self._waiting: deque[_Batch] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, batch: OutputBatch, *, correlation_id: str, traceparent: str) -> None:
        """Take some lines; never waits."""
        size = sum(_size(line) for line in batch.lines)
        self._waiting.append(_Batch(batch, correlation_id, traceparent, size))
        self._size += size
        while self._size > self._limit and len(self._waiting) > 1:
            self._give_up_oldest()
        self._idle.clear()
        self._wake.set()

    def _give_up_oldest(self) -> None:
        oldest = self._waiting.popleft()
        lines = oldest.batch.lines
        gap = 0
        if lines and lines[0].fields is not None and b'"gap"' in bytes(lines[0].fields):
            gap = int(msgspec.json.decode(lines[0].fields).get("gap", 0)) - 1
        count = len(lines) + gap
        metrics.OUTPUT_DROPPED.labels(reason="buffer_full").inc(count)
        self._size -= oldest.size
        marker = Output(
            seq=lines[-1].seq,
            at=lines[-1].at,
            stream=Stream.LOG.value,
            message=f"{count} lines were lost here, because Kafka was away for too long.",
            level="warning",
            fields=msgspec.Raw(_encode({"gap": count})),
        )
        head = self._waiting[0]
        if (head.batch.job_id, head.batch.attempt) == (oldest.batch.job_id, oldest.batch.attempt):
            head.batch = msgspec.structs.replace(head.batch, lines=(marker, *head.batch.lines))
            head.size += LINE_OVERHEAD
            self._size += LINE_OVERHEAD

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def drain(self) -> None:
        """Publish what is left, as far as the broker allows within some seconds."""
        try:
            await asyncio.wait_for(self._idle.wait(), 5.0)
        except TimeoutError:
            log.warning("output.undelivered", lines=sum(len(row.batch.lines) for row in self._waiting))

    async def _run(self) -> None:
        pauses = delays(first_s=0.2, cap_s=3.0)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), 500))]
                self._size -= sum(row.size for row in taken)
                failed = await self._publish(taken)
                if not failed:
                    pauses = delays(first_s=0.2, cap_s=3.0)
                    continue
                self._waiting.extendleft(reversed(failed))
                self._size += sum(row.size for row in failed)
                while self._size > self._limit and len(self._waiting) > 1:
                    self._give_up_oldest()
                await asyncio.sleep(next(pauses))
            self._idle.set()

    async def _publish(self, rows: list[_Batch]) -> list[_Batch]:
        """Publish; returns what has to be tried again, in order."""
        records, owners, spans = [], [], []
        for number, row in enumerate(rows):
            for pack in packs(row.batch):
                headers, span = send_span(self._tracer, JOBS_OUTPUT.name, pack.job_id, self._headers(row))
                if span is not None:
                    spans.append(span)
                records.append(OutRecord(JOBS_OUTPUT.name, pack.job_id, _encode(pack), headers))
                owners.append(number)
        answers = await self._publisher.send_many(records, timeout_s=5.0)
        for span in spans:
            span.end()
        again: set[int] = set()
        for owner, answer in zip(owners, answers, strict=True):
            if isinstance(answer, Sent):
                continue
            if isinstance(answer, PublishFailed) and answer.permanent:
                metrics.OUTPUT_DROPPED.labels(reason="refused").inc(len(rows[owner].batch.lines))
                log.error("output.refused", job_id=rows[owner].batch.job_id, error=str(answer))
                continue
            again.add(owner)
        return [rows[number] for number in sorted(again)]

    def _headers(self, row: _Batch) -> Headers:
        found: Headers = [
            ("content-type", b"application/json"),
            ("ce_specversion", b"1.0"),
            ("ce_id", new_id("evt").encode()),
            ("ce_source", self._source),
            ("ce_type", OUTPUT.encode()),
            ("ce_subject", row.batch.job_id.encode()),
            ("ce_time", rfc3339(utc_now()).encode()),
            ("ce_correlationid", row.correlation_id.encode()),
        ]
        if row.traceparent:
            found.append(("traceparent", row.traceparent.encode()))
        return found


def _size(line: Output) -> int:
    return LINE_OVERHEAD + len(line.message) + (len(bytes(line.fields)) if line.fields is not None else 0)


def packs(batch: OutputBatch) -> Iterable[OutputPack]:
    """The batch in packs of at most `MAX_PACK_BYTES`; escapes in JSON may triple a line, so a third is the aim."""
    lines: list[OutputLine] = []
    size = 0
    for line in batch.lines:
        more = _size(line)
        if lines and size + more > MAX_PACK_BYTES // 3:
            yield OutputPack(batch.job_id, batch.tenant, batch.attempt, batch.fence, tuple(lines))
            lines, size = [], 0
        lines.append(_line(line))
        size += more
    if lines:
        yield OutputPack(batch.job_id, batch.tenant, batch.attempt, batch.fence, tuple(lines))


def _line(line: Output) -> OutputLine:
    return OutputLine(line.seq, line.at, Stream(line.stream), line.message, line.level, line.fields, line.late)
