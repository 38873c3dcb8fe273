"""The one consumer loop.

A batch of raw records, the effects of each, the dead letters among them and the new offsets are one transaction in
PostgreSQL. Kafka's own offsets are never used: on assignment we go to PostgreSQL's. So a kill at any line repeats the
batch or nothing, and a zombie's transaction fails at its first statement.

Poison below the decoder (a text that PostgreSQL cannot store, say) is found by halving the batch; the one record goes
to the dead letters and the partition moves on. Everything else that fails is repeated until it succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from jobyard_common.contracts.telemetry import Check
from jobyard_common.contracts.topics import Topic
from jobyard_common.db.connection import Connection, Pool
from jobyard_common.db.errors import is_poison, is_retryable
from jobyard_common.messaging import offsets, outbox
from jobyard_common.messaging.bounded import bounded, first_of
from jobyard_common.messaging.identity import identity_of
from jobyard_common.messaging.inbound import Inbound, Refused, dead_letter, inbound_of
from jobyard_common.messaging.kafka import METADATA_MAX_AGE_MS, REQUEST_TIMEOUT_MS, SESSION_TIMEOUT_MS, KafkaSettings
from jobyard_common.messaging.placement import Hold, Placement, told
from jobyard_common.messaging.process_spans import process_spans
from jobyard_common.messaging.watchdog import Stalled, Watchdog
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.crash import crash
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger
from jobyard_common.telemetry.tracing import Tracer

log = get_logger("consumer")
Apply = Callable[[Connection, list[Inbound]], Awaitable[Sequence[Refused]]]
Prepare = Callable[[list[Inbound]], Awaitable[Mapping[int, Hold]]]
LOOK_EVERY_S = 3.0
LEAST_RECORDS = 10


class ConsumerLoop(Component):
    """Reads one topic as a member of a group.

    `apply` runs inside the transaction and returns the records that it refuses; it must be repeatable and must not
    commit. `after_commit` is called once a batch is durable. `paused` may hold back the next batch for as long as
    what it needs is away. Batches begin at least `pace_s` apart, so that they grow with the load. `prepare` sees a
    batch before its transaction begins, may ask others, and says which partitions wait from which record on; the
    others go on. It must be repeatable, too.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        topic: Topic,
        group: str,
        instance_id: str,
        pool: Pool,
        apply: Apply,
        tracer: Tracer,
        max_records: int = 500,
        after_commit: Callable[[], None] | None = None,
        paused: Callable[[], bool] | None = None,
        pace_s: float = 0.0,
        prepare: Prepare | None = None,
    ) -> None:
        super().__init__()
        self.name = f"consumer {topic.name}"
        self.progress = offsets.Progress()
        self._kafka = kafka
        self._topic = topic
        self._group = f"{kafka.topic_prefix}{group}.{topic.name}"
        self._member = f"{instance_id}.{topic.name}"
        self._pool = pool
        self._apply = apply
        self._tracer = tracer
        self._max_records = self._most = max_records
        self._after_commit = after_commit
        self._paused = paused
        self._pace_s = pace_s
        self._prepare = prepare
        self._batch_at = 0.0
        self._placement: Placement | None = None
        self._draining = False
        self._idle = asyncio.Event()
        self._looked_at = time.monotonic()
        self._busy = False

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def drain(self) -> None:
        self._draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 5.0)

    def check(self) -> Check:
        """Assignment, progress and stopped partitions, for readiness."""
        placement = self._placement
        if placement is None:
            return Check("degraded", "Kafka is not reached", critical=False)
        if placement.stopped:
            rows = "; ".join(f"partition {number}: {why}" for number, why in sorted(placement.stopped.items()))
            return Check("degraded", rows, critical=False)
        if not placement.assigned:
            return Check("degraded", "no partition is assigned", critical=False)
        if waits := placement.waiting():
            return Check("degraded", told(waits), critical=False)
        return Check("ok")

    async def _run(self) -> None:
        pauses = delays(first_s=0.2, cap_s=3.0)
        while not self._draining:
            try:
                await self._session()
            except Stalled as stall:
                log.error("consumer.stalled", topic=self._topic.name, detail=str(stall), busy=self._busy)
                if self._busy:
                    # A transaction that is too large for a server under load would never end.
                    self._most = max(LEAST_RECORDS, self._most // 4)
            except offsets.Superseded:
                log.warning("consumer.superseded", topic=self._topic.name)
            except Exception as error:
                if not isinstance(error, KafkaError) and not is_retryable(error):
                    raise
                log.warning(
                    "consumer.disconnected", topic=self._topic.name, error=f"{type(error).__name__}: {error}"[:200]
                )
            else:
                pauses = delays(first_s=0.2, cap_s=3.0)
            if self._placement is not None:
                self._placement.forget()
            self._placement = None
            self.progress.follow({})
            if not self._draining:
                await asyncio.sleep(next(pauses))
        self._idle.set()

    async def _session(self) -> None:
        """One connection to the broker, until it fails, stalls or we drain."""
        identity = await bounded(identity_of(self._kafka, self._topic), limit_s=10)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka.bootstrap,
            client_id=self._kafka.client_id,
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=1_500,
            fetch_max_wait_ms=500,
            fetch_max_bytes=8 * 1024 * 1024,
            request_timeout_ms=REQUEST_TIMEOUT_MS + 1_000,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            retry_backoff_ms=100,
        )
        placement = Placement(consumer, self._kafka, topic=self._topic, identity=identity, pool=self._pool)
        try:
            await bounded(consumer.start(), limit_s=15)
            consumer.subscribe([self._kafka.topic(self._topic)], listener=placement)
            self._placement = placement
            name, busy = self._topic.name, lambda: self._busy
            watchdog = Watchdog(consumer, placement, topic=name, idle=self._paused, busy=busy)
            await first_of(self._read(consumer, placement), watchdog.run())
        finally:
            with contextlib.suppress(TimeoutError, KafkaError):
                await bounded(consumer.stop(), limit_s=5)

    async def _read(self, consumer: AIOKafkaConsumer, placement: Placement) -> None:
        while not self._draining:
            self._busy = False
            await self._step(consumer, placement)

    async def _step(self, consumer: AIOKafkaConsumer, placement: Placement) -> None:
        if self._paused is not None and self._paused():
            await asyncio.sleep(0.25)
            return
        self._busy = True
        placement.release()
        try:
            await placement.settle()
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("consumer.database_away", topic=self._topic.name, error=str(error)[:200])
            await asyncio.sleep(0.5)
            return
        self._busy = False
        self.progress.follow(placement.positions)
        if (early := self._batch_at + self._pace_s - time.monotonic()) > 0:
            await asyncio.sleep(early)
        fetched = await consumer.getmany(timeout_ms=200, max_records=self._most)
        placement.notice_new_links()
        batch: list[Inbound] = []
        for partition, rows in fetched.items():
            batch += placement.accept(partition, [inbound_of(row, topic=self._topic.name) for row in rows])
        if batch:
            self._batch_at = time.monotonic()
            self._busy = True
            await self._apply_until_durable(batch, placement)
            self._busy = False
            self._most = min(self._max_records, self._most * 2)
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            if await self._sent_back(placement):
                raise offsets.Superseded

    async def _sent_back(self, placement: Placement) -> bool:
        """Without new records no transaction would tell."""
        try:
            return await placement.sent_back()
        except Exception as error:
            if not is_retryable(error):
                raise
            return False

    async def _apply_until_durable(self, batch: list[Inbound], placement: Placement) -> None:
        unclear = False
        for pause in delays(first_s=0.1, cap_s=5.0):
            try:
                if unclear:
                    # What was committed before the failure must not be applied again from memory.
                    stored = await placement.reload()
                    batch = [record for record in batch if record.offset >= stored.get(record.partition, 0)]
                if batch and self._prepare is not None:
                    batch = placement.hold(await self._prepare(batch), batch)
                if batch:
                    await self._apply_batch(batch, placement)
                return
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning(
                    "consumer.batch_repeated", topic=self._topic.name, error=f"{type(error).__name__}: {error}"[:300]
                )
            unclear = True
            if self._draining:
                return
            await asyncio.sleep(pause)

    async def _apply_batch(self, batch: list[Inbound], placement: Placement) -> None:
        try:
            await self._transaction(batch, placement, refused=None)
        except Exception as error:
            if not is_poison(error):
                raise
            if len(batch) == 1:
                refusal = Refused(batch[0], "unstorable", f"{type(error).__name__}: {error}")
                await self._transaction(batch, placement, refused=refusal)
                return
            middle = len(batch) // 2
            await self._apply_batch(batch[:middle], placement)
            await self._apply_batch(batch[middle:], placement)

    async def _transaction(self, batch: list[Inbound], placement: Placement, *, refused: Refused | None) -> None:
        crash("K4")
        moves = placement.moves(batch)
        spans = process_spans(self._tracer, batch, topic=self._topic.name, group=self._group)
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await offsets.move(connection, moves, identity=placement.identity, topic=self._kafka.topic(self._topic))
                rejected = [refused] if refused else list(await self._apply(connection, batch))
                await outbox.put(connection, [dead_letter(row, group=self._group) for row in rejected])
                crash("K5")
        except BaseException as error:
            for span in spans:
                span.error(error)
            raise
        finally:
            for span in spans:
                span.end()
        crash("K6")
        for row in rejected:
            metrics.DEAD_LETTERS.labels(topic=self._topic.name, reason=row.reason).inc()
            where = {"topic": self._topic.name, "partition": row.inbound.partition, "offset": row.inbound.offset}
            log.warning("record.refused", reason=row.reason, message=row.message[:500], **where)
        placement.moved(moves)
        for step in moves:
            self.progress.advance(step.partition, step.next)
        metrics.CONSUMED.labels(topic=self._topic.name).inc(len(batch))
        if self._after_commit is not None:
            self._after_commit()
