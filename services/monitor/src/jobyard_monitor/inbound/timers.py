"""What monitor does by itself: keeping its tables, and looking whether its database is there."""

from __future__ import annotations

import asyncio
import time

import asyncpg
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.connection import Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.db.migrate import VERSION_TABLE, head_of
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.clock import Clock
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_monitor.handlers.keep_tables import Retention, keep_tables

log = get_logger("timers")
KEEP_EVERY_S = 600.0
LOOK_EVERY_S = 2.0
SILENT_S = 6.0


class TableKeeper(Component):
    """Partitions and retention, at the start and every ten minutes."""

    name = "table keeper"

    def __init__(self, pool: Pool, *, retention: Retention, clock: Clock) -> None:
        super().__init__()
        self._pool = pool
        self._retention = retention
        self._clock = clock
        self._kept = False

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    def check(self) -> Check:
        return Check("ok") if self._kept else Check("degraded", "partitions are not made yet", critical=False)

    async def _run(self) -> None:
        pauses = delays(first_s=0.5, cap_s=10.0)
        while True:
            try:
                kept = await keep_tables(self._pool, retention=self._retention, now=self._clock.now())
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                # Rows without a partition of their own wait in the default one, so a late round loses nothing.
                log.warning("tables.not_kept", error=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(next(pauses))
                continue
            if kept.created or kept.dropped or kept.pruned:
                log.info("tables.kept", created=kept.created, dropped=kept.dropped, pruned=kept.pruned)
            self._kept, pauses = True, delays(first_s=0.5, cap_s=10.0)
            await asyncio.sleep(KEEP_EVERY_S)


class DatabaseWatch(Component):
    """Knows whether the database answers with the schema that this program was written for."""

    name = "database watch"

    def __init__(self, pool: Pool, *, package: str) -> None:
        super().__init__()
        self._pool = pool
        self._head = head_of(package)
        self._answered_at: float | None = None
        self._revision: str | None = None

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    def check(self) -> Check:
        if self._answered_at is None or time.monotonic() - self._answered_at > SILENT_S:
            return Check("down", "PostgreSQL does not answer")
        if self._revision is None or self._revision < self._head:
            return Check("down", f"the schema is at {self._revision}, not {self._head}: run the migrations")
        return Check("ok")

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    self._revision = await self._pool.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")
                self._answered_at = time.monotonic()
            except asyncpg.UndefinedTableError:
                self._answered_at, self._revision = time.monotonic(), None
            except Exception as error:
                if not is_retryable(error):
                    raise
            await asyncio.sleep(LOOK_EVERY_S)
