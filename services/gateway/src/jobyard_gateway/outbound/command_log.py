"""How far `jobs.commands` reaches now: behind this position a job that nobody knows does not exist.

Asked only when an id is unknown everywhere else, so a reader pays for it only before a 404. Everybody who asks at the
same time shares one look at the broker, and each look begins after its askers came: an id that was accepted before
the question lies before the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.kafka import METADATA_MAX_AGE_MS, REQUEST_TIMEOUT_MS, KafkaSettings
from jobyard_common.messaging.publisher import Publisher, PublishFailed
from jobyard_common.runtime.supervisor import Component

ANSWER_WITHIN_S = 2.0
_FAULTS = (KafkaError, OSError, TimeoutError, PublishFailed)


class LogAway(Exception):
    """Kafka does not say how far the commands reach, so nobody can say that a job does not exist."""


class CommandLog(Component):
    """The ends of the partitions of `jobs.commands`."""

    name = "command-log"

    def __init__(self, kafka: KafkaSettings, publisher: Publisher) -> None:
        super().__init__()
        self._kafka = kafka
        self._publisher = publisher
        self._consumer: AIOKafkaConsumer | None = None
        self._looking: asyncio.Future[dict[int, int]] | None = None
        self._next: asyncio.Future[dict[int, int]] | None = None

    async def after(self, job_ids: Iterable[str]) -> str:
        """The value of `X-Jobyard-After` past every command that was accepted for these jobs until now.

        Empty if no such command can exist. Raises LogAway.
        """
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                wanted = {await self._publisher.partition(JOBS_COMMANDS.name, job_id) for job_id in job_ids}
                ends = await self._shared_look()
        except _FAULTS as error:
            raise LogAway(f"{type(error).__name__}: {error}"[:200]) from None
        return ",".join(f"{number}:{ends[number] - 1}" for number in sorted(wanted) if ends[number] > 0)

    async def _shared_look(self) -> dict[int, int]:
        if self._next is None:
            self._next = asyncio.ensure_future(self._look(self._looking))
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _look(self, before: asyncio.Future[dict[int, int]] | None) -> dict[int, int]:
        if before is not None:
            await asyncio.wait([before])
        self._looking, self._next = self._next, None
        topic = self._kafka.topic(JOBS_COMMANDS)
        count = await self._publisher.partitions(JOBS_COMMANDS.name)
        places = [TopicPartition(topic, number) for number in range(count)]
        try:
            ends = await bounded((await self._connected()).end_offsets(places), limit_s=ANSWER_WITHIN_S)
        except _FAULTS:
            await self._disconnect()
            raise
        return {place.partition: end for place, end in ends.items()}

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka.bootstrap,
                client_id=self._kafka.client_id,
                group_id=None,
                enable_auto_commit=False,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                metadata_max_age_ms=METADATA_MAX_AGE_MS,
            )
            try:
                await bounded(consumer.start(), limit_s=ANSWER_WITHIN_S)
            except BaseException:
                with contextlib.suppress(*_FAULTS):
                    await bounded(consumer.stop(), limit_s=1)
                raise
            self._consumer = consumer
        return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(*_FAULTS):
                await bounded(consumer.stop(), limit_s=1)

    async def stop(self) -> None:
        await super().stop()
        for look in (self._next, self._looking):
            if look is not None and not look.done():
                look.cancel()
                await asyncio.wait([look], timeout=1)
        await self._disconnect()
