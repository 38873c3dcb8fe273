"""Where a consumer reads: the partitions it was given, and PostgreSQL's offset in each.

On every assignment the record before our offset is read again and compared with the fingerprint kept of it. When it
is another one, or the partition ends before our offset, Kafka has lost acknowledged records: that partition stops and
readiness says so, because going on would skip what was appended since.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from jobyard_common.contracts.topics import Topic
from jobyard_common.db.connection import Pool
from jobyard_common.messaging import offsets
from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.telemetry.logging import get_logger

log = get_logger("placement")


async def cluster_id_of(kafka: KafkaSettings) -> str:
    """The id that the cluster was formatted with."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap, client_id=kafka.client_id, request_timeout_ms=4_000)
    try:
        await admin.start()
        described = await admin.describe_cluster()
        return str(described.get("cluster_id") or "unknown")
    finally:
        await admin.close()


class Placement(ConsumerRebalanceListener):  # type: ignore[misc]
    """The partitions of one consumer session. Records of a partition count only once it was settled."""

    def __init__(
        self, consumer: AIOKafkaConsumer, kafka: KafkaSettings, *, topic: Topic, cluster_id: str, pool: Pool
    ) -> None:
        self.cluster_id = cluster_id
        self.assigned: set[TopicPartition] = set()
        self.positions: dict[int, int] = {}
        self.stopped: dict[int, str] = {}
        self._consumer = consumer
        self._name = kafka.topic(topic)
        self._pool = pool
        self._unsettled: set[TopicPartition] = set()
        self._verify: dict[int, bytes] = {}

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.assigned.clear()
        self._unsettled.clear()
        self.positions.clear()
        self.stopped.clear()
        self._verify.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.assigned = set(assigned)
        self._unsettled = set(assigned)

    async def settle(self) -> None:
        """Go to PostgreSQL's offset in every new partition."""
        if not self._unsettled:
            return
        partitions = sorted(self._unsettled)
        known = await self._load([partition.partition for partition in partitions])
        begins = await bounded(self._consumer.beginning_offsets(partitions), limit_s=10)
        ends = await bounded(self._consumer.end_offsets(partitions), limit_s=10)
        for partition in partitions:
            if partition in self._unsettled:
                self._place(partition, known[partition.partition], begin=begins[partition], end=ends[partition])
                self._unsettled.discard(partition)

    async def reload(self) -> dict[int, int]:
        """PostgreSQL's offsets as they are now, after a transaction with an unknown end."""
        known = await self._load([partition.partition for partition in self.assigned])
        for number, position in known.items():
            if number in self.positions:
                self.positions[number] = position.next
        return {number: position.next for number, position in known.items()}

    async def stored(self) -> dict[int, int]:
        """PostgreSQL's offsets as they are now; changes nothing here."""
        known = await self._load([partition.partition for partition in self.assigned])
        return {number: position.next for number, position in known.items()}

    async def _load(self, numbers: list[int]) -> dict[int, offsets.Position]:
        async with self._pool.acquire() as connection:
            return await offsets.load(connection, cluster_id=self.cluster_id, topic=self._name, partitions=numbers)

    def _place(self, partition: TopicPartition, position: offsets.Position, *, begin: int, end: int) -> None:
        number = partition.partition
        if position.next > end:
            self._stop(partition, f"it ends at {end}, but {position.next} records were read: Kafka lost some")
            return
        self.positions[number] = position.next
        if position.next < begin:
            if position.next > 0:
                log.error("partition.expired_unread", topic=self._name, partition=number, lost=begin - position.next)
            self._consumer.seek(partition, begin)
        elif position.fingerprint is not None and position.next > begin:
            self._verify[number] = position.fingerprint
            self._consumer.seek(partition, position.next - 1)
        else:
            self._consumer.seek(partition, position.next)

    def _stop(self, partition: TopicPartition, why: str) -> None:
        self.stopped[partition.partition] = why
        self._consumer.pause(partition)
        log.error("partition.stopped", topic=self._name, partition=partition.partition, reason=why)

    def accept(self, partition: TopicPartition, records: list[Inbound]) -> list[Inbound]:
        """The records that come next; nothing of a partition that is not settled, or that changed behind us."""
        number = partition.partition
        position = self.positions.get(number)
        if position is None or partition in self._unsettled or number in self.stopped:
            return []
        wanted = self._verify.get(number)
        if wanted is not None and records:
            del self._verify[number]
            if records[0].offset == position - 1 and records[0].fingerprint() != wanted:
                self._stop(partition, f"the record at {position - 1} is not the one that was read: Kafka lost some")
                self.positions.pop(number)
                return []
        return [record for record in records if record.offset >= position]

    def moves(self, batch: list[Inbound]) -> list[offsets.Move]:
        last: dict[int, Inbound] = {}
        for record in batch:
            last[record.partition] = record
        try:
            return [
                offsets.Move(number, self.positions[number], record.offset + 1, record.fingerprint())
                for number, record in last.items()
            ]
        except KeyError:
            raise offsets.Superseded from None
