"""What the timers role does beside jobs: fires of schedules, steps of bulk operations, forgetting of both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_schedules import fire_schedules, start_waiting
from jobyard_executor.handlers.run_bulk import step_bulk
from jobyard_executor.handlers.sweep_runs import forget_runs, sweep_runs
from jobyard_executor.inbound.http_shapes import filters_of_pairs
from jobyard_executor.store import bulk as bulk_operations
from jobyard_executor.store import dead_letters, schedules

TICK_S = 0.5
KEEP_S = 900.0
SWEEP_S = 60.0
FORGOTTEN_AT_ONCE = 5000


@dataclass(frozen=True)
class Chore:
    """Done again and again, `pause_s` seconds after its end."""

    name: str
    pause_s: float
    work: Callable[[], Awaitable[None]]


def chores(engine: Engine, pool: asyncpg.Pool, *, retention: timedelta) -> Sequence[Chore]:
    async def fire() -> None:
        due, waiting = await schedules.pending(pool, now=engine.clock.now())
        while due and await fire_schedules(engine, pool):
            continue
        while waiting and await start_waiting(engine, pool):
            continue

    async def sweep() -> None:
        await sweep_runs(engine, pool)

    async def bulk() -> None:
        due = await bulk_operations.pending(pool, now=engine.clock.now())
        while due and await step_bulk(engine, pool, filters_of_pairs):
            continue

    async def forget() -> None:
        await forget_runs(engine, pool, retention=retention)
        before = engine.clock.now() - retention
        await schedules.forget(pool, before=before, limit=FORGOTTEN_AT_ONCE)
        await bulk_operations.forget(pool, before=before, limit=FORGOTTEN_AT_ONCE)
        await dead_letters.forget(pool, before=before, limit=FORGOTTEN_AT_ONCE)

    return (
        Chore("schedules", TICK_S, fire),
        Chore("bulk", TICK_S, bulk),
        Chore("forget", KEEP_S, forget),
        Chore("sweep_runs", SWEEP_S, sweep),
    )
