"""Reading `jobs.events` again from a position, for readers that were away or could not keep up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from jobyard_common.contracts.topics import JOBS_EVENTS
from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.inbound import Inbound, inbound_of
from jobyard_common.messaging.kafka import METADATA_MAX_AGE_MS, REQUEST_TIMEOUT_MS, KafkaSettings
from jobyard_common.messaging.publisher import Publisher, PublishFailed

ANSWER_WITHIN_S = 3.0
AT_ONCE = 8
BATCH = 500
PATIENCE = 10
FAULTS = (KafkaError, OSError, TimeoutError, PublishFailed)


class EventsAway(Exception):
    """The topic can't be read at the moment."""


class EventLog:
    """At most `AT_ONCE` readers go over the topic at a time; the others wait for their turn."""

    def __init__(self, kafka: KafkaSettings, publisher: Publisher) -> None:
        self._kafka = kafka
        self._publisher = publisher
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def partitions(self) -> int:
        """Raises EventsAway."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._publisher.partitions(JOBS_EVENTS.name)
        except FAULTS as error:
            raise EventsAway(str(error)[:200]) from None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Reading]:
        """One reader's turn. Raises EventsAway, then and later."""
        count = await self.partitions()
        topic = self._kafka.topic(JOBS_EVENTS)
        async with self._turns:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka.bootstrap,
                client_id=self._kafka.client_id,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=256 * 1024,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                metadata_max_age_ms=METADATA_MAX_AGE_MS,
            )
            try:
                await bounded(consumer.start(), limit_s=ANSWER_WITHIN_S)
                yield Reading(consumer, [TopicPartition(topic, number) for number in range(count)])
            except FAULTS as error:
                raise EventsAway(f"{type(error).__name__}: {error}"[:200]) from None
            finally:
                with contextlib.suppress(*FAULTS):
                    await bounded(consumer.stop(), limit_s=2)


class Reading:
    """A look at the topic as it is now."""

    def __init__(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._places = places

    async def bounds(self) -> tuple[list[int], list[int]]:
        """Where each partition begins and ends now."""
        begins = await bounded(self._consumer.beginning_offsets(self._places), limit_s=ANSWER_WITHIN_S)
        ends = await bounded(self._consumer.end_offsets(self._places), limit_s=ANSWER_WITHIN_S)
        return [begins[place] for place in self._places], [ends[place] for place in self._places]

    async def batches(self, position: Sequence[int], ends: Sequence[int]) -> AsyncIterator[list[Inbound]]:
        """The records from `position` up to `ends`, as fast as they are taken."""
        left = {place: end for place, at, end in zip(self._places, position, ends, strict=True) if at < end}
        self._consumer.assign(list(left))
        for place in left:
            self._consumer.seek(place, position[place.partition])
        patience = PATIENCE
        while left:
            fetched = await bounded(
                self._consumer.getmany(*left, timeout_ms=1_000, max_records=BATCH), limit_s=ANSWER_WITHIN_S
            )
            found = [
                inbound_of(row, topic=JOBS_EVENTS.name)
                for place, rows in fetched.items()
                for row in rows
                if row.offset < ends[place.partition]
            ]
            patience = PATIENCE if fetched else patience - 1
            if not patience:
                raise TimeoutError("the topic does not reach as far as its end said")
            for place in list(left):
                if await self._consumer.position(place) >= left[place]:
                    del left[place]
            yield found
