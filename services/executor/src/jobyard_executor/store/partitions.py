"""Partitions by time of the tables that hold history: made ahead, dropped when they are older than their retention.

A partition spans one week of ids. Keyed ids carry no time and share one partition, whose rows the pruner deletes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobyard_common.contracts.ids import KEYED_FIRST, new_id
from jobyard_common.db.connection import Connection

TABLES = ("job", "job_list", "job_done", "job_label", "attempt", "result", "lifecycle")
SPAN = timedelta(days=7)
_ORIGIN = datetime(2024, 1, 1, tzinfo=UTC)
EXISTING = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'job'::regclass
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('executor.partitions'))"
KEYED_AGE = "CREATE INDEX IF NOT EXISTS job_done_keyed_age ON job_done_keyed (finished_at)"
OPTIONS = {"job": " WITH (fillfactor = 70)"}
WAITING = "SELECT " + " OR ".join(
    f"EXISTS (SELECT FROM {table} WHERE job_id >= $1 AND job_id < $2)"
    for table in ("ready", "lease", "timer", "blocked")
)
UNFINISHED = "SELECT EXISTS (SELECT FROM {} WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'expired'))"


def first_id(moment: datetime, *, cell: str) -> str:
    """The least unkeyed job id of `moment`."""
    stamp = int(moment.timestamp() * 1000)
    return new_id("job", cell=cell, now_ms=stamp)[: 6 + 10] + "0" * 16


def week_of(moment: datetime) -> datetime:
    return _ORIGIN + ((moment - _ORIGIN) // SPAN) * SPAN


async def ensure(connection: Connection, *, now: datetime, ahead: int, cell: str) -> int:
    """Make the partitions from last week to `ahead` weeks on, and the keyed one; returns how many were made."""
    existing = {row["relname"] for row in await connection.fetch(EXISTING)}
    made = 0
    spans = [("keyed", f"job_{cell}{KEYED_FIRST}", f"job_{cell}8")]
    week = week_of(now) - SPAN
    for _ in range(ahead + 2):
        spans.append((f"w{week:%Y%m%d}", first_id(week, cell=cell), first_id(week + SPAN, cell=cell)))
        week += SPAN
    for suffix, low, high in spans:
        if f"job_{suffix}" in existing:
            continue
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute(ONE_AT_A_TIME)
            for table in TABLES:
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}_{suffix} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{low}') TO ('{high}'){OPTIONS.get(table, '')}"
                )
        made += 1
    # Looked for first: CREATE INDEX would wait for every writer, only to find that it is there.
    if await connection.fetchval("SELECT to_regclass('job_done_keyed_age') IS NULL"):
        async with connection.transaction():
            await connection.execute(ONE_AT_A_TIME)
            await connection.execute(KEYED_AGE)
    return made


async def drop_older(connection: Connection, *, than: datetime, cell: str) -> list[str]:
    """Drop the weeks that ended before `than` and hold no unfinished job; returns their names."""
    dropped = []
    for week in await weeks(connection):
        if week + SPAN > than or await _has_live(connection, week, cell=cell):
            continue
        suffix = f"w{week:%Y%m%d}"
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            for table in TABLES:
                await connection.execute(f"DROP TABLE IF EXISTS {table}_{suffix}")
        dropped.append(suffix)
    return dropped


async def weeks(connection: Connection) -> list[datetime]:
    """The beginnings of the weeks that have partitions, oldest first."""
    names = [row["relname"].removeprefix("job_") for row in await connection.fetch(EXISTING)]
    return sorted(datetime.strptime(name[1:], "%Y%m%d").replace(tzinfo=UTC) for name in names if name[0] == "w")


async def _has_live(connection: Connection, week: datetime, *, cell: str) -> bool:
    """Asked of the small tables first: a job scheduled years ahead keeps its week, and must not cost a scan an hour."""
    span = first_id(week, cell=cell), first_id(week + SPAN, cell=cell)
    if await connection.fetchval(WAITING, *span):
        return True
    return bool(await connection.fetchval(UNFINISHED.format(f"job_w{week:%Y%m%d}")))
