"""Keeping a promise: Kafka within three seconds, else the spool, else an honest refusal.

A command behind one that still waits in the spool goes into the spool, too, so that each job's commands keep their
order. The copy that a slow Kafka delivers after all has the same ids, and the executor takes each id once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.db.breaker import Breaker, LeftInPeace
from jobyard_common.db.connection import Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.lots import PackedRecord
from jobyard_common.messaging.placed import placed_id
from jobyard_common.messaging.publisher import OutRecord, Publisher, PublishFailed, Sent
from jobyard_common.runtime.crash import crash
from jobyard_common.telemetry.context import TraceContext
from jobyard_common.telemetry.logging import get_logger
from jobyard_common.telemetry.tracing import Span, Tracer, send_span

from jobyard_gateway.domain.keeping import Way, way_of_later
from jobyard_gateway.store import spool

log = get_logger("commands")
DEADLINE_S = 3.0
SPOOL_DEADLINE_S = 2.0
KAFKA_AWAY_S = 2.0


class Kept(StrEnum):
    """How a promise without an offset is kept."""

    SPOOLED = "spooled"


class NotKept(Exception):
    """Neither Kafka nor the spool took the command; Kafka may still deliver a copy."""


class Commands:
    """The only way in which commands leave the gateway."""

    def __init__(
        self,
        publisher: Publisher,
        pool: Pool,
        *,
        tracer: Tracer,
        monotonic: Callable[[], float],
        wake_relay: Callable[[], None],
    ) -> None:
        self._publisher = publisher
        self._pool = pool
        self._tracer = tracer
        self._monotonic = monotonic
        self._wake_relay = wake_relay
        self._away_until = 0.0
        self._breaker = Breaker(monotonic=monotonic)

    async def keep(self, record: OutRecord) -> Sent | Kept:
        """Make the first command of a job durable.

        Raises:
            NotKept: nobody took it.
        """
        headers, span = send_span(self._tracer, record.topic, record.key, record.headers)
        traced = OutRecord(record.topic, record.key, record.value, headers)
        try:
            return await self._kept(lambda: self._publisher.send(traced, timeout_s=DEADLINE_S), lambda: record, span)
        finally:
            if span is not None:
                span.end()

    async def keep_soon(self, record: PackedRecord, whole: Callable[[], OutRecord]) -> Sent | Kept:
        """The same for a record of `jobs.commands` that is packed; `whole` makes it for the spool. It has no span.

        Raises:
            NotKept: nobody took it.
        """
        soon = self._publisher.soon
        return await self._kept(lambda: soon.send(JOBS_COMMANDS.name, record, timeout_s=DEADLINE_S), whole, None)

    def new_job_id(self, *, cell: str) -> str:
        """A new id whose command goes where the next request to Kafka goes anyway."""
        place = self._publisher.soon.place(JOBS_COMMANDS.name)
        return new_id("job", cell=cell) if place is None else placed_id("job", place, cell=cell)

    async def _kept(
        self, send: Callable[[], Awaitable[Sent]], whole: Callable[[], OutRecord], span: Span | None
    ) -> Sent | Kept:
        crash("K1")
        if self._monotonic() < self._away_until and await self._spooled([whole()]):
            return Kept.SPOOLED
        try:
            sent = await send()
        except PublishFailed as error:
            if span is not None:
                span.error(error)
            self._away(error)
            if not error.permanent and await self._spooled([whole()]):
                return Kept.SPOOLED
            raise NotKept(str(error)) from None
        self._away_until = 0.0
        crash("K3")
        return sent

    async def keep_behind(self, record: OutRecord, *, needs_order: bool) -> Sent | Kept:
        """Make a later command of a job durable, behind what waits for it.

        Raises:
            NotKept: nobody took it, or `needs_order` and nobody could say what waits.
        """
        waits: bool | None = None
        try:
            waits = await self._waits(str(record.key))
        except Exception as error:
            if not is_retryable(error):
                raise
        way = way_of_later(waits, needs_order=needs_order)
        if way is Way.REFUSE:
            raise NotKept("the spool can't be asked")
        if way is Way.PUBLISH:
            return await self.keep(record)
        if await self._spooled([record]):
            return Kept.SPOOLED
        raise NotKept("the spool takes nothing")

    async def holds(self, key: str) -> bool:
        """Whether a command of this aggregate still waits in the spool.

        Raises:
            NotKept: nobody can say.
        """
        try:
            return await self._waits(key)
        except Exception as error:
            if not is_retryable(error):
                raise
            raise NotKept("the spool can't be asked") from None

    async def keep_many(self, records: Sequence[OutRecord]) -> list[Sent | Kept | NotKept]:
        """Make first commands of many jobs durable in one go; one answer each, in order."""
        answers: list[Sent | Kept | NotKept] = []
        if self._monotonic() < self._away_until and await self._spooled(records):
            return [Kept.SPOOLED] * len(records)
        spans = []
        traced = []
        for record in records:
            headers, span = send_span(self._tracer, record.topic, record.key, record.headers)
            traced.append(OutRecord(record.topic, record.key, record.value, headers))
            if span is not None:
                spans.append(span)
        results = await self._publisher.send_many(traced, timeout_s=DEADLINE_S)
        for span in spans:
            span.end()
        late = [n for n, result in enumerate(results) if isinstance(result, PublishFailed) and not result.permanent]
        kept = not late or await self._spooled([records[n] for n in late])
        for result in results:
            if isinstance(result, Sent):
                answers.append(result)
            elif result.permanent or not kept:
                answers.append(NotKept(str(result)))
            else:
                answers.append(Kept.SPOOLED)
        return answers

    async def keep_packed(
        self, records: Sequence[PackedRecord], whole: Callable[[int], OutRecord]
    ) -> tuple[list[Sent], set[int]]:
        """The same as `keep_many` for records of `jobs.commands` that are packed; `whole(n)` is one for the spool.

        Returns where the last record of each lot is, and the numbers of the records that nobody took. No spans are
        made of it.
        """
        if self._monotonic() < self._away_until and await self._spooled([whole(n) for n in range(len(records))]):
            return [], set()
        lots = await self._publisher.send_packed(JOBS_COMMANDS.name, records, timeout_s=DEADLINE_S)
        late: list[int] = []
        lost: set[int] = set()
        for lot in lots:
            if isinstance(lot.answer, PublishFailed):
                lost.update(lot.numbers) if lot.answer.permanent else late.extend(lot.numbers)
        if late and not await self._spooled([whole(n) for n in sorted(late)]):
            lost.update(late)
        return [last for lot in lots if (last := lot.last()) is not None], lost

    def makes_spans(self, trace: TraceContext) -> bool:
        """Whether what is sent under this trace has spans of its own."""
        return self._tracer.exporting and trace.sampled

    async def _waits(self, key: str) -> bool:
        return await self._breaker.ask(lambda: spool.holds(self._pool, key, timeout_s=SPOOL_DEADLINE_S))

    async def _spooled(self, records: Sequence[OutRecord]) -> bool:
        try:
            await self._breaker.ask(lambda: spool.put(self._pool, records, timeout_s=SPOOL_DEADLINE_S))
        except LeftInPeace:
            return False
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("spool.away", error=f"{type(error).__name__}: {error}"[:200])
            return False
        self._wake_relay()
        return True

    def _away(self, error: PublishFailed) -> None:
        if error.permanent:
            return
        if self._monotonic() >= self._away_until:
            log.warning("kafka.commands_spooled", error=str(error))
        self._away_until = self._monotonic() + KAFKA_AWAY_S
