"""Forgetting: whole weeks of history by dropping partitions, the rest in small batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg
from jobyard_common.db.connection import Connection

from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import cache, dedupe, edges, limits, partitions, queues, sessions
from jobyard_executor.store import retention as store

COMMANDS_KEPT = timedelta(days=10)
BATCH = 2000
OLD_COMMANDS = (
    "DELETE FROM command_seen WHERE command_id IN (SELECT command_id FROM command_seen WHERE at < $1 LIMIT $2)"
)
OLD_TOMBSTONES = "DELETE FROM tombstone WHERE job_id IN (SELECT job_id FROM tombstone WHERE at < $1 LIMIT $2)"
OLD_KEYED = "DELETE FROM keyed_id WHERE job_id IN (SELECT job_id FROM keyed_id WHERE expires_at < $1 LIMIT $2)"


async def keep_partitions(engine: Engine, pool: asyncpg.Pool) -> int:
    async with pool.acquire() as connection:
        return await partitions.ensure(connection, now=engine.clock.now(), ahead=2, cell=engine.cell)


async def prune(engine: Engine, pool: asyncpg.Pool, *, retention: timedelta) -> None:
    """Drop what is older than `retention`; ids of commands are remembered longer than Kafka keeps their records."""
    now = engine.clock.now()
    async with pool.acquire() as connection:
        await partitions.drop_older(connection, than=now - retention, cell=engine.cell)
        await _all(connection, OLD_COMMANDS, now - COMMANDS_KEPT)
        await _all(connection, OLD_TOMBSTONES, now - COMMANDS_KEPT)
        await _all(connection, OLD_KEYED, now)
        await _forget_keyed(connection, before=now - retention)
        oldest = min(await partitions.weeks(connection), default=now - retention)
        await _all(connection, edges.FORGET, f"job_{engine.cell}0", partitions.first_id(oldest, cell=engine.cell))
        await _all(connection, dedupe.LAPSED, now)
        await _all(connection, cache.LAPSED, now)
        await connection.execute(sessions.FORGET)
        await limits.remove_unused(connection, limit=BATCH)
        await connection.execute(queues.OLD_FLOW)


async def _all(connection: Connection, statement: str, *parameters: Any) -> None:
    """Delete a batch at a time until nothing is left, each in a transaction of its own."""
    while True:
        deleted = await connection.execute(statement, *parameters, BATCH)
        if int(deleted.rpartition(" ")[2]) < BATCH:
            return


async def _forget_keyed(connection: Connection, *, before: datetime) -> None:
    while True:
        async with connection.transaction():
            rows = await store.keyed(connection, before=before, limit=BATCH)
            if rows:
                await store.forget(connection, rows)
        if len(rows) < BATCH:
            return
