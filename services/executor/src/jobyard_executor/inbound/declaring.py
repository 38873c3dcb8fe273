"""What an executor tells the database of its queues: those of its settings at the start, the flow through them ever
after."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.flow import SLICE_S
from jobyard_executor.domain.queue_file import Declared
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.count_waiting import Counts, WaitingCounts
from jobyard_executor.handlers.declare_queues import declare_queues
from jobyard_executor.store import queues

log = get_logger("queues")
SHOW_S = 15.0


class Declaring(Component):
    """Stores the queues and routes of the settings as soon as the database answers."""

    name = "declaring"

    def __init__(self, pool: asyncpg.Pool, declared: Declared) -> None:
        super().__init__()
        self._pool = pool
        self._declared = declared

    async def start(self) -> None:
        if self._declared.queues or self._declared.routes:
            self.spawn(self._declare(), name="declare")

    async def _declare(self) -> None:
        for pause in delays(first_s=0.2, cap_s=5.0):
            try:
                await declare_queues(self._pool, self._declared)
                break
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("queues.not_declared", error=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(pause)
        log.info("queues.declared", queues=sorted(self._declared.queues), routes=len(self._declared.routes))


class FlowKeeper(Component):
    """Keeps how many jobs came to and went from each queue here, and shows as metrics how full the queues are; nothing
    is written while nothing moves."""

    name = "queue-flow"

    def __init__(self, engine: Engine, pool: asyncpg.Pool, counts: WaitingCounts) -> None:
        super().__init__()
        self._engine = engine
        self._pool = pool
        self._counts = counts
        self._shown: set[str] = set()

    async def start(self) -> None:
        self.spawn(self._run(), name="keep")
        self.spawn(self._show(), name="show")

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(SHOW_S)
            try:
                self.show(await self._counts.get(), now=datetime.now(UTC))
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.debug("queues.not_shown", error=str(error)[:200])

    def show(self, counts: Counts, *, now: datetime) -> None:
        """Set the gauges; every executor shows the same, so a query takes the greatest."""
        self._shown |= set(counts.depth)
        for queue in self._shown:
            oldest = counts.oldest.get(queue)
            metrics.QUEUE_DEPTH.labels(queue=queue).set(counts.of(queue)["queued"])
            age = max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0
            metrics.QUEUE_OLDEST.labels(queue=queue).set(age)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SLICE_S)
            rows = self._engine.flow.close_slice()
            if not rows:
                continue
            try:
                await queues.keep_flow(self._pool, self._engine.instance, rows)
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.debug("queues.flow_not_kept", error=str(error)[:200])
