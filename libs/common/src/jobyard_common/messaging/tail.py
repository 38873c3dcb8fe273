"""Following topics from their end, without a group: for what only matters while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from jobyard_common.contracts.topics import Topic
from jobyard_common.messaging.bounded import bounded, first_of
from jobyard_common.messaging.inbound import Inbound, inbound_of
from jobyard_common.messaging.kafka import METADATA_MAX_AGE_MS, REQUEST_TIMEOUT_MS, KafkaSettings
from jobyard_common.messaging.skim import Skimmer, Wants
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

log = get_logger("tail")
REST_S = 0.1


class Tail(Component):
    """Hands the new records of some topics to `on_records`, which must not wait and must not raise.

    All of them, or those that are asked for by `wants` (the topic and the key). While it is `idle` nobody wants any:
    the tail then only moves on, ten times a second, until it does so or is told to `attend`. A lost connection is made
    anew; `on_gap` is told, because records may have passed meanwhile.
    """

    name = "tail"

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[Topic],
        on_records: Callable[[list[Inbound]], None],
        *,
        on_gap: Callable[[], None] | None = None,
        idle: Callable[[], bool] = lambda: False,
        wants: Wants = lambda topic, key: True,
    ) -> None:
        super().__init__()
        self._kafka = kafka
        self._topics = {kafka.topic(topic): topic.name for topic in topics}
        self._on_records = on_records
        self._on_gap = on_gap
        self._idle = idle
        self._wants = wants
        self._attended = asyncio.Event()

    def attend(self) -> None:
        """Somebody wants records from now on; what was fetched and not looked at is looked at now."""
        self._attended.set()

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def _run(self) -> None:
        for pause in delays(first_s=0.2, cap_s=3.0):
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("tail.disconnected", error=f"{type(error).__name__}: {error}"[:200])
            if self._on_gap is not None:
                self._on_gap()
            await asyncio.sleep(pause)

    async def _session(self) -> None:
        # Without a group, naming the topics assigns every partition of them at the start.
        consumer = AIOKafkaConsumer(
            *self._topics,
            bootstrap_servers=self._kafka.bootstrap,
            client_id=self._kafka.client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=500,
            request_timeout_ms=REQUEST_TIMEOUT_MS + 1_000,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        try:
            await bounded(consumer.start(), limit_s=15)
            partitions = sorted(consumer.assignment())
            ends = await bounded(consumer.end_offsets(partitions), limit_s=10)
            for partition in partitions:
                consumer.seek(partition, ends[partition])
            if self._on_gap is not None:
                # What passed between the last session and this position was seen by nobody.
                self._on_gap()
            await first_of(self._follow(consumer))
        finally:
            with contextlib.suppress(TimeoutError, KafkaError):
                await bounded(consumer.stop(), limit_s=5)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        topics, wants = self._topics, self._wants
        skimmer = Skimmer(consumer, idle=self._idle, wants=lambda topic, key: wants(topics[topic], key))
        while True:
            if self._idle():
                # Fetched at leisure, because every request costs, whoever reads the answer.
                await self._rest()
            await self._take(skimmer)

    async def _rest(self) -> None:
        self._attended.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                await self._attended.wait()

    async def _take(self, skimmer: Skimmer) -> None:
        rows = await skimmer.take(timeout_s=0.2)
        if rows:
            self._on_records([inbound_of(row, topic=self._topics[row.topic]) for row in rows])
