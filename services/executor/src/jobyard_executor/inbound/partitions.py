"""Partitions must exist before the first job is taken in; later ones are made ahead by the timers."""

from __future__ import annotations

import asyncio

import asyncpg
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.prune import keep_partitions

log = get_logger("partitions")


class Partitions(Component):
    """Holds ingest back until the partitions of this week are there."""

    name = "partitions"

    def __init__(self, engine: Engine, pool: asyncpg.Pool) -> None:
        super().__init__()
        self._engine = engine
        self._pool = pool
        self._made = False

    def missing(self) -> bool:
        return not self._made

    def check(self) -> Check:
        return Check("ok") if self._made else Check("degraded", "the database was not reached yet", critical=False)

    async def start(self) -> None:
        self.spawn(self._make(), name="make")

    async def _make(self) -> None:
        for pause in delays(first_s=0.2, cap_s=3.0):
            try:
                await keep_partitions(self._engine, self._pool)
                self._made = True
                return
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("partitions.waiting", error=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(pause)
