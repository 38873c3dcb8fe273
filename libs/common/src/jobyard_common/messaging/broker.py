"""FastStream's broker: lifecycle and subscribers of small topics, where each start reads the whole topic again.

Nothing that must not be lost goes through it: its acknowledgement policies commit before or without the effect. What
is read here is compacted and small, so every process reads all of it, without a group and without an offset.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.exceptions import FastStreamException
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER

from jobyard_common.contracts.topics import Topic
from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.inbound import Inbound, inbound_of
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.placement import cluster_id_of
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

log = get_logger("broker")


def make_broker(kafka: KafkaSettings) -> KafkaBroker:
    """A broker that is started and stopped by its owner; no handler runs before `start`."""
    # FastStream takes a text for one address; aiokafka itself would split it
    servers = [address.strip() for address in kafka.bootstrap.split(",")]
    return KafkaBroker(servers, client_id=kafka.client_id, graceful_timeout=5.0, logger=None, apply_types=False)


class SmallTopics(Component):
    """Hands every record of some compacted topics to `on_records`: all that they hold, then what comes.

    `on_records` must not wait and must not raise. A subscriber that ended is replaced, and reads everything anew.
    """

    name = "small topics"

    def __init__(
        self, kafka: KafkaSettings, topics: Sequence[Topic], on_records: Callable[[list[Inbound]], None]
    ) -> None:
        super().__init__()
        self._kafka = kafka
        self._names = {kafka.topic(topic): topic.name for topic in topics}
        self._on_records = on_records

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def _run(self) -> None:
        pauses = delays(first_s=0.2, cap_s=3.0)
        while True:
            try:
                # A broker object whose start failed leaves its client open.
                await bounded(cluster_id_of(self._kafka), limit_s=10)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("broker.unreachable", error=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(next(pauses))
                continue
            broker = make_broker(self._kafka)
            subscriber = broker.subscriber(
                *self._names,
                batch=True,
                auto_offset_reset="earliest",
                batch_timeout_ms=20,
                ack_policy=AckPolicy.MANUAL,
                no_reply=True,
                parser=_unparsed,
                decoder=_undecoded,
            )
            subscriber(self._take)
            try:
                await bounded(broker.start(), limit_s=15)
                await self._until_broken(subscriber)
            except (KafkaError, FastStreamException, OSError, TimeoutError) as error:
                log.warning("broker.disconnected", error=f"{type(error).__name__}: {error}"[:200])
            finally:
                with contextlib.suppress(KafkaError, FastStreamException, OSError, TimeoutError):
                    await bounded(broker.stop(), limit_s=5)
            await asyncio.sleep(next(pauses))

    async def _until_broken(self, subscriber: Any) -> None:
        """FastStream owns the task that fetches; the client library may end it without a word."""
        tasks = list(subscriber.tasks)
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        log.error("broker.subscriber_ended")

    async def _take(self, message: KafkaMessage) -> None:
        rows = message.raw_message if isinstance(message.raw_message, tuple) else (message.raw_message,)
        self._on_records([inbound_of(row, topic=self._names[row.topic]) for row in rows])


async def _unparsed(raw: Any) -> KafkaMessage:
    """Headers that are not UTF-8 would be an error inside the framework, where nobody sees it."""
    return KafkaMessage(raw_message=raw, body=b"", consumer=FAKE_CONSUMER)


async def _undecoded(message: KafkaMessage) -> KafkaMessage:
    """Records go on as they came: a body that is no JSON is our reader's business, not the framework's."""
    return message
