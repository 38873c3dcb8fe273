"""Jobs of some states or tools go sooner than their partition: a rule at a time, a batch at a time."""

from __future__ import annotations

import asyncpg
from jobyard_common.contracts.ids import KEYED_FIRST
from jobyard_common.contracts.jobs import TERMINAL
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.retention import Retention, Rule
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import partitions
from jobyard_executor.store import retention as store

BATCH = 1000
MOST_BATCHES = 50


async def prune_kinds(engine: Engine, pool: asyncpg.Pool, *, retention: Retention) -> int:
    """Forget what the shorter rules name; returns how many jobs that were. The cursors remember how far it came."""
    count = 0
    async with pool.acquire() as connection:
        for rule in retention.rules():
            horizon = engine.clock.now() - rule.after
            first, last = f"job_{engine.cell}{KEYED_FIRST}", f"job_{engine.cell}8"
            dated = ("", partitions.first_id(horizon, cell=engine.cell))
            for name, low, high in ((rule.name, *dated), (f"{rule.name}/keyed", first, last)):
                count += await _sweep(engine, connection, rule, retention, name=name, low=low, high=high)
    return count


async def _sweep(
    engine: Engine, connection: Connection, rule: Rule, retention: Retention, *, name: str, low: str, high: str
) -> int:
    """Dated ids are looked at once, in their order; keyed ones come at any place, so their cursor goes round."""
    horizon = engine.clock.now() - rule.after
    count = 0
    for _ in range(MOST_BATCHES):
        async with connection.transaction():
            after = await store.cursor(connection, name)
            if after is None:
                return count
            rows = await store.following(connection, after=max(after, low), before=high, limit=BATCH)
            gone = [
                row
                for row in rows
                if row.state in TERMINAL
                and row.finished_at is not None
                and row.finished_at < horizon
                and retention.covers(rule, state=row.state, tool=row.tool)
            ]
            if gone:
                await store.forget(connection, gone)
            count += len(gone)
            ended = len(rows) < BATCH
            if rows and not (ended and low):
                await store.move(connection, name, rows[-1].job_id)
            elif low:
                await store.move(connection, name, "")
        if ended:
            return count
    return count
