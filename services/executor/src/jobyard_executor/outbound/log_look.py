"""Looks into Kafka for a recovery: what a topic holds where we stopped reading, and the highest epoch told to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from jobyard_common.contracts.jobs import JobEvent
from jobyard_common.contracts.topics import JOBS_EVENTS, Topic
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.inbound import Inbound, inbound_of
from jobyard_common.messaging.kafka import KafkaSettings

from jobyard_executor.domain.epoch import epoch_of_incarnation

ANSWER_WITHIN_S = 15.0


class LogLook:
    """One connection, without a group. Partitions are numbers of `topic`."""

    def __init__(self, consumer: AIOKafkaConsumer, kafka: KafkaSettings) -> None:
        self._consumer = consumer
        self._kafka = kafka

    async def spans(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """Where each partition begins, and where it ends."""
        name = self._kafka.topic(topic)
        await bounded(self._consumer._client.add_topic(name), limit_s=ANSWER_WITHIN_S)
        numbers = self._consumer.partitions_for_topic(name) or set()
        partitions = [TopicPartition(name, number) for number in sorted(numbers)]
        begins = await bounded(self._consumer.beginning_offsets(partitions), limit_s=ANSWER_WITHIN_S)
        ends = await bounded(self._consumer.end_offsets(partitions), limit_s=ANSWER_WITHIN_S)
        return {partition.partition: (begins[partition], ends[partition]) for partition in partitions}

    async def record(self, topic: Topic, number: int, offset: int) -> Inbound | None:
        """The record at or behind `offset`; None if there is none within the time."""
        partition = TopicPartition(self._kafka.topic(topic), number)
        self._consumer.assign([partition])
        self._consumer.seek(partition, offset)
        for rows in (await self._consumer.getmany(timeout_ms=5_000, max_records=1)).values():
            for row in rows:
                return inbound_of(row, topic=topic.name)
        return None

    async def highest_epoch(self) -> int:
        """The highest epoch in the last events of all partitions; 0 if there are none."""
        found = 0
        for number, (begin, end) in (await self.spans(JOBS_EVENTS)).items():
            last = await self.record(JOBS_EVENTS, number, end - 1) if end > begin else None
            if last is None or last.value is None:
                continue
            try:
                event = decode(JobEvent, last.value)
            except WireError:
                continue
            found = max(found, epoch_of_incarnation(event.incarnation))
        return found


@asynccontextmanager
async def log_look(kafka: KafkaSettings) -> AsyncIterator[LogLook]:
    """Raises KafkaError if the broker is away."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        client_id=f"{kafka.client_id}-recover",
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
    try:
        await bounded(consumer.start(), limit_s=ANSWER_WITHIN_S)
        yield LogLook(consumer, kafka)
    finally:
        await consumer.stop()
