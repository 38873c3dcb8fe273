"""Publishing with `acks=all` and a deadline of our own.

An idempotent producer of aiokafka never gives up on a batch by itself, so a send that ran out of time may still be
delivered later. Whoever falls back to another way must make the later copy harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.telemetry import Check
from jobyard_common.messaging.acknowledged import Lot, PublishFailed, Sent, answer_of, failed, sent
from jobyard_common.messaging.collecting import Collectors
from jobyard_common.messaging.deadlines import Deadlines
from jobyard_common.messaging.kafka import (
    MAX_REQUEST_BYTES,
    METADATA_MAX_AGE_MS,
    REQUEST_TIMEOUT_MS,
    KafkaSettings,
    partition_of,
)
from jobyard_common.messaging.lots import PackedRecord, send_lots
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.crash import crash
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

log = get_logger("publisher")
FEW, SMALL_BYTES = 200, 8_192


class OutRecord(msgspec.Struct, frozen=True):
    """A record to publish; `topic` is the name without the deployment's prefix."""

    topic: str
    key: str | bytes | None
    value: bytes | None
    headers: Headers


def key_bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key


class Publisher(Component):
    """One producer a process. It connects in the background: a service starts while its broker is away."""

    name = "publisher"

    def __init__(self, kafka: KafkaSettings, *, idempotent: bool = True) -> None:
        super().__init__()
        self._kafka = kafka
        self._idempotent = idempotent
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._counts: dict[str, int] = {}
        self._deadlines: dict[float, Deadlines] = {}
        self.soon = Collectors(self.send_packed, self._counts)

    async def start(self) -> None:
        if not self._tasks and self._producer is None:
            self.spawn(self._keep_connected(), name="connection")

    async def connected(self, timeout_s: float = 30.0) -> None:
        """Wait until the broker was reached once; raises TimeoutError."""
        await asyncio.wait_for(self._connected.wait(), timeout_s)

    async def _keep_connected(self) -> None:
        """An idempotent producer whose sequence the broker has lost fails every send from then on: make a new one."""
        while True:
            producer = await self._connect()
            self._producer = producer
            self._connected.set()
            await asyncio.wait({producer._sender.sender_task})
            log.error("producer.broken")
            self._producer = None
            await _end(producer)

    async def _connect(self) -> AIOKafkaProducer:
        pauses = delays(first_s=0.2, cap_s=3.0)
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._kafka.bootstrap,
                client_id=self._kafka.client_id,
                acks="all",
                enable_idempotence=self._idempotent,
                linger_ms=0,
                max_batch_size=256 * 1024,
                max_request_size=MAX_REQUEST_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                metadata_max_age_ms=METADATA_MAX_AGE_MS,
                retry_backoff_ms=100,
            )
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                log.warning("kafka.unreachable", error=str(error)[:200])
                await producer.stop()
                await asyncio.sleep(next(pauses))
            except BaseException:
                await producer.stop()
                raise
            else:
                return producer

    def check(self) -> Check:
        """For readiness: reached once; an outage after that is the business of each send."""
        if self._producer is None:
            return Check("down", "Kafka was not reached yet", critical=False)
        return Check("ok")

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has.

        Raises:
            PublishFailed: the broker was not reached yet.
        """
        producer = self._producer
        if producer is None:
            raise PublishFailed("Kafka was not reached yet")
        known = self._counts.get(topic)
        if known is None:
            known = self._counts[topic] = len(await producer.partitions_for(self._kafka.topic(topic)))
        return known

    async def partition(self, topic: str, key: str | bytes) -> int:
        """Where records of this key go. Raises PublishFailed."""
        return partition_of(key_bytes(key) or b"", await self.partitions(topic))

    async def send(self, record: OutRecord, *, timeout_s: float = 3.0) -> Sent:
        """Publish one record and wait for its acknowledgement.

        Raises:
            PublishFailed: no acknowledgement within `timeout_s`, or a refusal.
        """
        waits = self._deadlines.get(timeout_s)
        if waits is None:
            waits = self._deadlines[timeout_s] = Deadlines(timeout_s)
        try:
            if len(waits) < FEW and len(record.value or b"") < SMALL_BYTES and record.topic in self._counts:
                # There is room in the batches: this does not wait.
                pending = await self._enqueue(record)
            else:
                async with asyncio.timeout(timeout_s):
                    pending = await self._enqueue(record)
            crash("K2")
            return sent(await waits.of(pending, asyncio.get_running_loop()))
        except (KafkaError, TimeoutError, OSError) as error:
            raise failed(error) from None

    async def send_many(self, records: Sequence[OutRecord], *, timeout_s: float = 10.0) -> list[Sent | PublishFailed]:
        """Publish records in one go; each has its own answer, in the order given.

        Records of one partition stay in their order. They are packed here, batch by batch, because one future and
        one lookup a batch instead of a record is most of what publishing costs.
        """
        producer = self._producer
        if producer is None:
            return [PublishFailed("Kafka was not reached yet")] * len(records)
        deadline = asyncio.get_running_loop().time() + timeout_s
        answers: list[Sent | PublishFailed | None] = [None] * len(records)
        lots: dict[tuple[str, int], list[int]] = {}
        for number, record in enumerate(records):
            try:
                count = self._counts.get(record.topic) or await self._count(producer, record.topic, deadline)
            except (KafkaError, TimeoutError, OSError) as error:
                answers[number] = failed(error)
                continue
            if len(record.value or b"") > MAX_REQUEST_BYTES // 2 and _size(record) > MAX_REQUEST_BYTES:
                answers[number] = PublishFailed("the record is larger than a request may be", permanent=True)
                continue
            place = (record.topic, partition_of(key_bytes(record.key) or b"", count))
            lots.setdefault(place, []).append(number)
        await asyncio.gather(
            *(
                self._send_lot(producer, records, numbers, answers, topic=topic, partition=partition, deadline=deadline)
                for (topic, partition), numbers in lots.items()
            )
        )
        return [answer or PublishFailed("no acknowledgement in time") for answer in answers]

    async def send_packed(self, topic: str, records: Sequence[PackedRecord], *, timeout_s: float = 10.0) -> list[Lot]:
        """Publish records of one topic that are packed already; every one of them is in one lot.

        Records of one partition stay in their order, over all their lots.
        """
        producer = self._producer
        if producer is None:
            return [Lot(range(len(records)), PublishFailed("Kafka was not reached yet"))]
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            count = self._counts.get(topic) or await self._count(producer, topic, deadline)
        except (KafkaError, TimeoutError, OSError) as error:
            return [Lot(range(len(records)), failed(error))]
        return await send_lots(producer, self._kafka.topic(topic), records, partitions=count, deadline=deadline)

    async def _send_lot(
        self,
        producer: AIOKafkaProducer,
        records: Sequence[OutRecord],
        numbers: Sequence[int],
        answers: list[Sent | PublishFailed | None],
        *,
        topic: str,
        partition: int,
        deadline: float,
    ) -> None:
        """The records of one partition. What has no answer when the time is up may still be delivered."""
        pending: list[tuple[asyncio.Future[Any], Sequence[int]]] = []
        name = self._kafka.topic(topic)
        at = 0
        try:
            async with asyncio.timeout_at(deadline):
                while at < len(numbers):
                    batch = producer.create_batch()
                    first = at
                    while at < len(numbers):
                        record = records[numbers[at]]
                        key = key_bytes(record.key)
                        if batch.append(timestamp=None, key=key, value=record.value, headers=record.headers) is None:
                            break
                        at += 1
                    batch.close()
                    pending.append((await producer.send_batch(batch, name, partition=partition), numbers[first:at]))
                await asyncio.wait([future for future, _ in pending])
        except (KafkaError, TimeoutError, OSError) as error:
            for number in numbers[sum(len(those) for _, those in pending) :]:
                answers[number] = failed(error)
        for future, those in pending:
            answer = answer_of(future)
            for place, number in enumerate(those):
                answers[number] = Sent(partition, answer.offset + place) if isinstance(answer, Sent) else answer

    async def _count(self, producer: AIOKafkaProducer, topic: str, deadline: float) -> int:
        async with asyncio.timeout_at(deadline):
            count = self._counts[topic] = len(await producer.partitions_for(self._kafka.topic(topic)))
        return count

    async def _enqueue(self, record: OutRecord) -> asyncio.Future[Any]:
        producer = self._producer
        if producer is None:
            raise PublishFailed("Kafka was not reached yet")
        topic = self._kafka.topic(record.topic)
        count = self._counts.get(record.topic)
        if count is None:
            count = self._counts[record.topic] = len(await producer.partitions_for(topic))
        key = key_bytes(record.key)
        future: asyncio.Future[Any] = await producer.send(
            topic,
            value=record.value,
            key=key,
            partition=partition_of(key or b"", count),
            headers=record.headers,
        )
        return future

    async def stop(self) -> None:
        await super().stop()
        await self.soon.stop()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _end(producer)


def _size(record: OutRecord) -> int:
    """An upper bound of what a record takes in a request."""
    body = len(key_bytes(record.key) or b"") + len(record.value or b"")
    return body + sum(len(name.encode()) + len(value) + 16 for name, value in record.headers) + 128


async def _end(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may have lost its broker; what it still holds has its deadline with whoever sent it."""
    ending = asyncio.ensure_future(producer.stop())
    ending.add_done_callback(lambda late: late.cancelled() or late.exception())
    await asyncio.wait({ending}, timeout=3.0)


__all__ = ["Lot", "OutRecord", "PublishFailed", "Publisher", "Sent", "key_bytes"]
