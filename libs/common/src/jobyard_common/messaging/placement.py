"""Where a consumer reads: the partitions it was given, and PostgreSQL's offset in each.

On every assignment, and after every new connection to the leader of a partition, the record before our offset is read
again and compared with the fingerprint kept of it (`resume.py`). When it is another one, or the partition ends before
our offset, Kafka has lost acknowledged records: that partition stops and says so in readiness, log and metrics until
somebody decides, because going on would skip what was appended since. If the topic itself was made anew, its offsets
are other ones, and nothing was lost that anybody could still find.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.client import ConnectionGroup

from jobyard_common.contracts.topics import Topic
from jobyard_common.db.connection import Pool
from jobyard_common.messaging import offsets
from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.identity import cluster_id_of, identity_of
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.resume import Look, Lost, goes_on, look, resume
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger

log = get_logger("placement")
REMIND_EVERY_S = 60.0
HOLD_S = 1.0
HELD_GRACE_S = 5.0
"""So long after its pause a partition still counts as one that waits: its record is read and looked at again."""

__all__ = ["Hold", "Placement", "cluster_id_of", "told"]


class Hold(msgspec.Struct, frozen=True):
    """A partition waits from this record on, because of what the text says; it is looked at again after a moment."""

    offset: int
    why: str


def told(waits: Mapping[int, str]) -> str:
    """Partitions that wait, by why."""
    by_why: dict[str, list[str]] = {}
    for number, why in sorted(waits.items()):
        by_why.setdefault(why, []).append(str(number))
    return "; ".join(f"partition {', '.join(numbers)} waits: {why}" for why, numbers in by_why.items())[:500]


class _Held(msgspec.Struct):
    why: str
    until: float
    paused: bool = True


class Placement(ConsumerRebalanceListener):  # type: ignore[misc]
    """The partitions of one consumer session. Records of a partition count only once it was settled.

    `positions` are the offsets to apply next, `stopped` says why a partition is not read.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, kafka: KafkaSettings, *, topic: Topic, identity: str, pool: Pool
    ) -> None:
        self.identity = identity
        self.assigned: set[TopicPartition] = set()
        self.positions: dict[int, int] = {}
        self.stopped: dict[int, str] = {}
        self._consumer = consumer
        self._kafka = kafka
        self._topic = topic
        self._name = kafka.topic(topic)
        self._pool = pool
        self._unsettled: set[TopicPartition] = set()
        self._verify: dict[int, bytes] = {}
        self._before: dict[int, bytes | None] = {}
        self._changed: dict[int, str] = {}
        self._stopped_at: dict[int, offsets.Position] = {}
        self._links: dict[TopicPartition, object] = {}
        self._reminded_at = 0.0
        self._held: dict[int, _Held] = {}

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is assigned any more."""
        for number in self.stopped:
            metrics.PARTITION_STOPPED.labels(topic=self._topic.name, partition=str(number)).set(0)
        for number in list(self._held):
            self._let_go(number)
        self.assigned.clear()
        self._unsettled.clear()
        self.positions.clear()
        self.stopped.clear()
        self._verify.clear()
        self._before.clear()
        self._changed.clear()
        self._stopped_at.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.assigned = set(assigned)
        self._unsettled = set(assigned)

    async def settle(self) -> None:
        """Go to PostgreSQL's offset in every new partition, and in those whose leader was reached anew.

        Raises:
            Superseded: the topic is not the one that this session began with.
        """
        self._remind()
        if not self._unsettled:
            return
        partitions = sorted(self._unsettled)
        if await bounded(identity_of(self._kafka, self._topic), limit_s=10) != self.identity:
            raise offsets.Superseded
        known = await self._load([partition.partition for partition in partitions])
        begins = await bounded(self._consumer.beginning_offsets(partitions), limit_s=10)
        ends = await bounded(self._consumer.end_offsets(partitions), limit_s=10)
        links = {partition: self._link(partition) for partition in partitions}
        for partition in partitions:
            if partition in self._unsettled:
                self._place(partition, known[partition.partition], begin=begins[partition], end=ends[partition])
                self._links[partition] = links[partition]
                self._unsettled.discard(partition)

    def notice_new_links(self) -> None:
        """A leader that was reached anew may have lost its end meanwhile: its partitions are placed anew."""
        for partition in self.assigned - self._unsettled:
            if partition.partition not in self.stopped and self._link(partition) is not self._links.get(partition):
                self._unsettle(partition)

    def _link(self, partition: TopicPartition) -> object:
        """The connection that fetches of this partition use. aiokafka reconnects without telling anybody."""
        client = self._consumer._client
        leader = client.cluster.leader_for_partition(partition)
        return client._conns.get((leader, ConnectionGroup.DEFAULT))

    def _unsettle(self, partition: TopicPartition) -> None:
        self._unsettled.add(partition)
        self._verify.pop(partition.partition, None)

    async def reload(self) -> dict[int, int]:
        """PostgreSQL's offsets as they are now, after a transaction with an unknown end.

        Raises:
            Superseded: it has forgotten commits of ours; what is in memory would leap over them.
        """
        known = await self._load([partition.partition for partition in self.assigned])
        for number, position in known.items():
            if number in self.positions:
                held = (self.positions[number], self._before.get(number))
                if not goes_on(held=held, stored=(position.next, position.fingerprint)):
                    raise offsets.Superseded
                self.positions[number], self._before[number] = position.next, position.fingerprint
        return {number: position.next for number, position in known.items()}

    async def sent_back(self) -> bool:
        """Whether somebody moved an offset: back (a rebuild), or that of a partition which stopped (a recovery)."""
        known = await self._load([partition.partition for partition in self.assigned])
        back = any(known[n].next < position for n, position in self.positions.items() if n in known)
        return back or any(known[n] != position for n, position in self._stopped_at.items() if n in known)

    async def _load(self, numbers: list[int]) -> dict[int, offsets.Position]:
        async with self._pool.acquire() as connection:
            return await offsets.load(connection, identity=self.identity, topic=self._name, partitions=numbers)

    def _place(self, partition: TopicPartition, position: offsets.Position, *, begin: int, end: int) -> None:
        number = partition.partition
        found = resume(position.next, position.fingerprint, begin=begin, end=end)
        changed = self._changed.pop(number, None)
        if isinstance(found, Lost) or changed is not None:
            self._stop(partition, found.why if isinstance(found, Lost) else changed or "", position)
            return
        self.positions[number], self._before[number] = position.next, position.fingerprint
        if found.expired:
            metrics.RECORDS_EXPIRED.labels(topic=self._topic.name).inc(found.expired)
            log.error("partition.expired_unread", topic=self._name, partition=number, lost=found.expired)
        if found.verify and position.fingerprint is not None:
            self._verify[number] = position.fingerprint
        self._consumer.seek(partition, found.seek)

    def _stop(self, partition: TopicPartition, why: str, position: offsets.Position) -> None:
        number = partition.partition
        self.positions.pop(number, None)
        self.stopped[number] = why
        self._stopped_at[number] = position
        self._consumer.pause(partition)
        metrics.PARTITION_STOPPED.labels(topic=self._topic.name, partition=str(number)).set(1)
        self._reminded_at = 0.0
        self._remind()

    def _remind(self) -> None:
        if not self.stopped or time.monotonic() - self._reminded_at < REMIND_EVERY_S:
            return
        self._reminded_at = time.monotonic()
        for number, why in self.stopped.items():
            log.error(
                "partition.stopped", topic=self._name, partition=number, reason=why, help="docs: After a disaster"
            )

    def accept(self, partition: TopicPartition, records: list[Inbound]) -> list[Inbound]:
        """The records that come next; nothing of a partition that is not settled, or that changed behind us."""
        number = partition.partition
        position = self.positions.get(number)
        if position is None or partition in self._unsettled or number in self.stopped or not records:
            return []
        if self._held and (held := self._held.get(number)) is not None and held.paused:
            return []
        wanted = self._verify.pop(number, None)
        first = records[0]
        print_of_first = first.fingerprint() if wanted is not None else b""
        found = look(first.offset, print_of_first, next_offset=position, wanted=wanted)
        if found is not Look.GOOD:
            if found is Look.CHANGED:
                self._changed[number] = f"the record at {position - 1} is not the one that was read: Kafka lost some"
            self._unsettle(partition)
            return []
        return [record for record in records if record.offset >= position]

    def moves(self, batch: list[Inbound]) -> list[offsets.Move]:
        last: dict[int, Inbound] = {}
        for record in batch:
            last[record.partition] = record
        try:
            return [
                offsets.Move(
                    number, self.positions[number], self._before[number], record.offset + 1, record.fingerprint()
                )
                for number, record in last.items()
            ]
        except KeyError:
            raise offsets.Superseded from None

    def moved(self, moves: list[offsets.Move]) -> None:
        """These are durable."""
        for step in moves:
            self.positions[step.partition], self._before[step.partition] = step.next, step.fingerprint
            if self._held and (held := self._held.get(step.partition)) is not None and not held.paused:
                self._let_go(step.partition)

    def hold(self, holds: Mapping[int, Hold], batch: list[Inbound]) -> list[Inbound]:
        """Stop reading these partitions for a moment; returns what of the batch comes before."""
        if not holds:
            return batch
        until = time.monotonic() + HOLD_S
        for number, found in holds.items():
            if number not in self._held:
                log.info("partition.held", topic=self._name, partition=number, offset=found.offset, reason=found.why)
            self._held[number] = _Held(found.why, until)
            metrics.PARTITION_HELD.labels(topic=self._topic.name, partition=str(number)).set(1)
            self._consumer.pause(TopicPartition(self._name, number))
        return [row for row in batch if row.partition not in holds or row.offset < holds[row.partition].offset]

    def release(self) -> None:
        """Read partitions again whose pause is over, from PostgreSQL's offset on."""
        if not self._held:
            return
        now = time.monotonic()
        for number, held in self._held.items():
            partition = TopicPartition(self._name, number)
            if held.paused and now >= held.until and partition in self.assigned:
                held.paused = False
                self._consumer.resume(partition)
                self._unsettle(partition)

    def waiting(self) -> dict[int, str]:
        """Partitions that are held, and why."""
        now = time.monotonic()
        return {number: held.why for number, held in self._held.items() if now < held.until + HELD_GRACE_S}

    def _let_go(self, number: int) -> None:
        del self._held[number]
        metrics.PARTITION_HELD.labels(topic=self._topic.name, partition=str(number)).set(0)
