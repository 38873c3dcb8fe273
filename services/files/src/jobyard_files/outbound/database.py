"""Whether the database answers, looked at on a timer, so that the health page never waits for it."""

from __future__ import annotations

import asyncio

import asyncpg
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.supervisor import Component


class DatabaseProbe(Component):
    """Asks every `every_s` seconds; without its database this service can answer nothing, so the check is critical."""

    name = "database probe"

    def __init__(self, pool: asyncpg.Pool, *, every_s: float = 2.0, timeout_s: float = 2.0) -> None:
        super().__init__()
        self._pool = pool
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._last = Check("down", "PostgreSQL was not asked yet")

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    def check(self) -> Check:
        return self._last

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._pool.fetchval("SELECT 1")
                self._last = Check("ok")
            except Exception as error:
                if not is_retryable(error):
                    raise
                self._last = Check("down", f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(self._every_s)
