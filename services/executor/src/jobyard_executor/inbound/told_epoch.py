"""Asks Kafka once, after each start, which epoch it was told of last: a database below it is an older copy."""

from __future__ import annotations

import asyncio

from aiokafka.errors import KafkaError
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.handlers.watch_epoch import EpochWatch
from jobyard_executor.outbound.log_look import log_look

log = get_logger("epoch")


class ToldEpoch(Component):
    """Nothing waits for the answer: jobs run while Kafka is away."""

    name = "told epoch"

    def __init__(self, kafka: KafkaSettings, epochs: EpochWatch) -> None:
        super().__init__()
        self._kafka = kafka
        self._epochs = epochs

    async def start(self) -> None:
        self.spawn(self._ask(), name="ask")

    async def _ask(self) -> None:
        for pause in delays(first_s=1.0, cap_s=30.0):
            try:
                async with log_look(self._kafka) as look:
                    self._epochs.told(await look.highest_epoch())
                return
            except (KafkaError, OSError, TimeoutError) as error:
                log.info("epoch.not_asked", error=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(pause)
