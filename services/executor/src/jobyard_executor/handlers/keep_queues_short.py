"""A claim looks where the oldest jobs were: without this it steps over every job that left since the last vacuum.

Autovacuum comes once a minute at best. At thousands of jobs a second the order of the queue then begins with a hundred
thousand dead entries, and the outbox grows until it no longer fits into memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import upkeep

AFTER = 10_000
"""Jobs that started here since the last time."""
log = get_logger("upkeep")


@dataclass
class KeepQueuesShort:
    """`work` is called once a second; it does nothing while few jobs pass."""

    engine: Engine
    pool: Any
    _seen: int = 0

    async def work(self) -> None:
        started = self.engine.started
        if started - self._seen < AFTER:
            return
        self._seen = started
        try:
            await upkeep.vacuum(self.pool)
        except (asyncpg.QueryCanceledError, TimeoutError) as error:
            # An old snapshot or a busy disk: the next time does what this one did not.
            log.warning("upkeep.vacuum_given_up", error=f"{type(error).__name__}: {error}"[:200])
