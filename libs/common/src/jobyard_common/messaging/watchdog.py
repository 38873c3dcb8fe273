"""A consumer that reads nothing while records wait is restarted, whatever the client library believes of itself.

Seen: after a broker and the database had died within seconds of each other, a consumer stayed a member of its group,
answered every poll with nothing and reported no error. The broker is asked apart from the fetches where each
partition ends; what we applied is known here. Where PostgreSQL is what takes long, a new session would only begin the
same work again, and have the group rebalanced twice: it is given more time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from jobyard_common.messaging.bounded import bounded
from jobyard_common.messaging.placement import Placement
from jobyard_common.telemetry import metrics

LOOK_EVERY_S = 3.0
ANSWER_WITHIN_S = 5.0
STALLED_S = 9.0
BUSY_S = 25.0


class Stalled(Exception):
    """Records wait and none was applied for a while; the text says where and for how long."""


class Watchdog:
    """Looks at one consumer session. `idle` says that it reads nothing on purpose, `busy` that it waits for
    PostgreSQL."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        placement: Placement,
        *,
        topic: str,
        idle: Callable[[], bool] | None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._consumer = consumer
        self._placement = placement
        self._topic = topic
        self._idle = idle or (lambda: False)
        self._busy = busy

    async def run(self) -> None:
        """Look now and then, for ever.

        Raises:
            Stalled: no progress for `STALLED_S` while records wait, or for `BUSY_S` while PostgreSQL is asked.
        """
        applied, since = dict(self._placement.positions), time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            waiting = await self._waiting()
            positions = dict(self._placement.positions)
            if not waiting or positions != applied or self._idle():
                applied, since = positions, time.monotonic()
            elif time.monotonic() - since > (BUSY_S if self._busy() else STALLED_S):
                raise Stalled(f"{waiting} records wait, none applied for {time.monotonic() - since:.0f} s")

    async def _waiting(self) -> int:
        """How many records of our partitions are not applied yet; partitions that stopped or wait do not count."""
        assigned = [row for row in self._placement.assigned if row.partition not in self._placement.stopped]
        if not assigned:
            return 0
        try:
            ends = await bounded(self._consumer.end_offsets(assigned), limit_s=ANSWER_WITHIN_S)
        except (KafkaError, OSError, TimeoutError):
            return 0
        total, waits = 0, self._placement.waiting()
        for partition, end in ends.items():
            lag = max(0, end - self._placement.positions.get(partition.partition, 0))
            metrics.CONSUMER_LAG.labels(topic=self._topic, partition=str(partition.partition)).set(lag)
            total += 0 if partition.partition in waits else lag
        return total
