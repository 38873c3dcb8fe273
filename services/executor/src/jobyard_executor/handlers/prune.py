"""Forgetting: whole weeks of history by dropping partitions, the rest in small batches."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import cache, dedupe, limits, partitions, queues, sessions

COMMANDS_KEPT = timedelta(days=10)
BATCH = 2000
OLD_COMMANDS = (
    "DELETE FROM command_seen WHERE command_id IN (SELECT command_id FROM command_seen WHERE at < $1 LIMIT $2)"
)
OLD_TOMBSTONES = "DELETE FROM tombstone WHERE job_id IN (SELECT job_id FROM tombstone WHERE at < $1 LIMIT $2)"
OLD_KEYED = "DELETE FROM keyed_id WHERE job_id IN (SELECT job_id FROM keyed_id WHERE expires_at < $1 LIMIT $2)"
OLD_KEYED_JOBS = "SELECT job_id FROM job_done_keyed WHERE finished_at < $1 ORDER BY finished_at LIMIT $2"
OLD_EDGES = "DELETE FROM edge WHERE done AND NOT EXISTS (SELECT FROM job WHERE job.job_id = edge.child_id)"


async def keep_partitions(engine: Engine, pool: asyncpg.Pool) -> int:
    async with pool.acquire() as connection:
        return await partitions.ensure(connection, now=engine.clock.now(), ahead=2, cell=engine.cell)


async def prune(engine: Engine, pool: asyncpg.Pool, *, retention: timedelta) -> None:
    """Drop what is older than `retention`; ids of commands are remembered longer than Kafka keeps their records."""
    now = engine.clock.now()
    async with pool.acquire() as connection:
        await partitions.drop_older(connection, than=now - retention)
        await connection.execute(OLD_COMMANDS, now - COMMANDS_KEPT, BATCH)
        await connection.execute(OLD_TOMBSTONES, now - COMMANDS_KEPT, BATCH)
        await connection.execute(OLD_KEYED, now, BATCH)
        old = [row[0] for row in await connection.fetch(OLD_KEYED_JOBS, now - retention, BATCH)]
        for table in reversed(partitions.TABLES):
            await connection.execute(f"DELETE FROM {table}_keyed WHERE job_id = ANY($1::text[])", old)
        await connection.execute(OLD_EDGES)
        await connection.execute(dedupe.LAPSED, now, BATCH)
        await connection.execute(cache.LAPSED, now, BATCH)
        await connection.execute(sessions.FORGET)
        await limits.remove_unused(connection, limit=BATCH)
        await connection.execute(queues.OLD_FLOW)
