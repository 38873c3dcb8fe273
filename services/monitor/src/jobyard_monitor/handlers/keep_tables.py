"""Partitions are made ahead and dropped by retention; what is not partitioned is pruned in small batches.

Every monitor may do it at any time: an advisory lock lets one work at a time, and each step is one short transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobyard_common.db.connection import Connection, Pool

from jobyard_monitor.domain.partitions import Partition, plan
from jobyard_monitor.store import audit, files, job_events, job_output, partitions, services

BATCH = 5_000
Step = Callable[[Connection, Partition], Awaitable[None]]
Prune = Callable[[Connection, datetime], Awaitable[int]]


@dataclass(frozen=True)
class Retention:
    """How long each kind of row is kept. `ahead` = partitions made for the days to come."""

    timeline: timedelta
    job_logs: timedelta
    service_logs: timedelta
    audit: timedelta
    ahead: int = 3

    def of(self, table: str) -> timedelta:
        kept = {"timeline": self.timeline, "chapter": self.timeline, "job_log": self.job_logs}
        return kept.get(table, self.service_logs)


@dataclass(frozen=True)
class Kept:
    """What one round did."""

    created: tuple[str, ...]
    dropped: tuple[str, ...]
    pruned: int


async def keep_tables(pool: Pool, *, retention: Retention, now: datetime) -> Kept:
    created: list[str] = []
    dropped: list[str] = []
    for table in partitions.KEYS:
        async with pool.acquire() as connection:
            names = await partitions.names(connection, table=table)
        wanted = plan(table, existing=names, now=now, keep=retention.of(table), ahead=retention.ahead)
        for partition in wanted.create:
            if await _alone(pool, partitions.create, partition, there=False):
                created.append(partition.name)
        for partition in wanted.drop:
            if await _alone(pool, partitions.drop, partition, there=True):
                dropped.append(partition.name)
    return Kept(tuple(created), tuple(dropped), await _prune_all(pool, retention=retention, now=now))


async def _alone(pool: Pool, step: Step, partition: Partition, *, there: bool) -> bool:
    """Do `step` unless somebody else has done it: `there` is whether the partition must exist."""
    async with pool.acquire() as connection, connection.transaction():
        # A statement that waits for a lock makes everybody behind it wait too.
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        await partitions.lock(connection)
        if (partition.name in await partitions.names(connection, table=partition.table)) is not there:
            return False
        await step(connection, partition)
        return True


async def _prune_all(pool: Pool, *, retention: Retention, now: datetime) -> int:
    async with pool.acquire() as connection:
        await services.forget(connection, before=now - timedelta(days=1))
    steps: list[tuple[Prune, datetime]] = [
        (lambda c, before: job_events.prune_states(c, before=before, batch=BATCH), now - retention.timeline),
        (lambda c, before: files.prune(c, before=before, batch=BATCH), now - retention.timeline),
        (lambda c, before: job_output.prune_progress(c, before=before, batch=BATCH), now - retention.job_logs),
        (lambda c, before: audit.prune(c, before=before, batch=BATCH), now - retention.audit),
    ]
    for table in partitions.KEYS:
        steps.append((_default_of(table), now - retention.of(table)))
    return sum([await _prune(pool, step, before=before) for step, before in steps])


def _default_of(table: str) -> Prune:
    return lambda connection, before: partitions.prune_default(connection, table=table, before=before, batch=BATCH)


async def _prune(pool: Pool, step: Prune, *, before: datetime) -> int:
    total = 0
    while True:
        async with pool.acquire() as connection:
            gone = await step(connection, before)
        total += gone
        if gone < BATCH:
            return total
