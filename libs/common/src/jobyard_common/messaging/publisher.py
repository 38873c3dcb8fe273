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
from aiokafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError, RecordTooLargeError

from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.telemetry import Check
from jobyard_common.messaging.kafka import (
    MAX_REQUEST_BYTES,
    METADATA_MAX_AGE_MS,
    REQUEST_TIMEOUT_MS,
    KafkaSettings,
    partition_of,
)
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

log = get_logger("publisher")


class OutRecord(msgspec.Struct, frozen=True):
    """A record to publish; `topic` is the name without the deployment's prefix."""

    topic: str
    key: str | bytes | None
    value: bytes | None
    headers: Headers


def key_bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key


class Sent(msgspec.Struct, frozen=True):
    """Where an acknowledged record is."""

    partition: int
    offset: int


class PublishFailed(Exception):
    """The record was not acknowledged in time; unless `permanent`, it may still arrive, and may be sent again."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


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

    async def start(self) -> None:
        if not self._tasks and self._producer is None:
            self.spawn(self._connect(), name="connect")

    async def connected(self, timeout_s: float = 30.0) -> None:
        """Wait until the broker was reached once; raises TimeoutError."""
        await asyncio.wait_for(self._connected.wait(), timeout_s)

    async def _connect(self) -> None:
        for pause in delays(first_s=0.2, cap_s=3.0):
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
                await asyncio.sleep(pause)
                continue
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
            self._connected.set()
            return

    def check(self) -> Check:
        """For readiness: reached once; an outage after that is the business of each send."""
        if self._producer is None:
            return Check("down", "Kafka was not reached yet", critical=False)
        return Check("ok")

    async def send(self, record: OutRecord, *, timeout_s: float = 3.0) -> Sent:
        """Publish one record and wait for its acknowledgement.

        Raises:
            PublishFailed: no acknowledgement within `timeout_s`, or a refusal.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return _sent(await asyncio.shield(await self._enqueue(record)))
        except (KafkaError, TimeoutError, OSError) as error:
            raise _failed(error) from None

    async def send_many(self, records: Sequence[OutRecord], *, timeout_s: float = 10.0) -> list[Sent | PublishFailed]:
        """Publish records in one go; each has its own answer, in the order given."""
        pending: list[asyncio.Future[Any] | PublishFailed] = []
        deadline = asyncio.get_running_loop().time() + timeout_s
        for record in records:
            try:
                async with asyncio.timeout_at(deadline):
                    pending.append(await self._enqueue(record))
            except (KafkaError, TimeoutError, OSError) as error:
                pending.append(_failed(error))
            except PublishFailed as error:
                pending.append(error)
        waiting = [row for row in pending if isinstance(row, asyncio.Future)]
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        return [row if isinstance(row, PublishFailed) else _answer(row) for row in pending]

    async def _enqueue(self, record: OutRecord) -> asyncio.Future[Any]:
        producer = self._producer
        if producer is None:
            raise PublishFailed("Kafka was not reached yet")
        topic = self._kafka.topic(record.topic)
        count = self._counts.get(topic)
        if count is None:
            count = self._counts[topic] = len(await producer.partitions_for(topic))
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
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


def _sent(meta: Any) -> Sent:
    return Sent(meta.partition, meta.offset)


def _answer(future: asyncio.Future[Any]) -> Sent | PublishFailed:
    if not future.done():
        # The batch may still be delivered; nobody waits for it any more.
        future.add_done_callback(lambda late: late.cancelled() or late.exception())
        return PublishFailed("no acknowledgement in time")
    if future.cancelled():
        return PublishFailed("the producer was stopped")
    error = future.exception()
    return _failed(error) if error is not None else _sent(future.result())


def _failed(error: BaseException) -> PublishFailed:
    permanent = isinstance(error, MessageSizeTooLargeError | RecordTooLargeError | InvalidTopicError)
    return PublishFailed(f"{type(error).__name__}: {error}"[:300], permanent=permanent)
