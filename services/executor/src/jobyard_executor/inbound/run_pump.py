"""Goes on with runs that have more to do than the ends of their jobs ask for: when it is woken, else each second."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.go_on import go_on

log = get_logger("runs")
LOOK_S = 1.0


class RunPump(Component):
    """Any number of executors may have one; a run is gone on with by one of them at a time."""

    name = "runs"

    def __init__(self, engine: Engine, pool: asyncpg.Pool) -> None:
        super().__init__()
        self._engine = engine
        self._pool = pool
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def start(self) -> None:
        self.spawn(self._loop(), name="runs")

    async def drain(self) -> None:
        await self.cancel_tasks()

    async def _loop(self) -> None:
        pauses = delays(first_s=0.1, cap_s=2.0)
        while True:
            self._wake.clear()
            pause = LOOK_S
            try:
                while await go_on(self._engine, self._pool):
                    pauses = delays(first_s=0.1, cap_s=2.0)
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("runs.failed", error=f"{type(error).__name__}: {error}"[:200])
                pause = next(pauses)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
