"""The lives of this database, and the places where its consumers read."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_executor.store.jobs import EPOCH, TIMELINE

LOOK = f"""
SELECT now.epoch, now.timeline, r.added, clock_timestamp() - e.first_seen AS ago,
    (SELECT max(epoch) FROM epoch) AS highest, (SELECT count(*) FROM epoch WHERE epoch < now.epoch)::int AS before,
    r.system_identifier = s.system_identifier AS at_home
FROM (SELECT {EPOCH} AS epoch, {TIMELINE} AS timeline) now CROSS JOIN recovery r CROSS JOIN pg_control_system() s
LEFT JOIN epoch e USING (epoch)
"""
SEEN = "INSERT INTO epoch (epoch, cause) VALUES ($1, $2) ON CONFLICT DO NOTHING"
HISTORY = "SELECT epoch, first_seen, cause FROM epoch ORDER BY epoch"
RAISE = """
UPDATE recovery SET added = $1, system_identifier = (SELECT system_identifier FROM pg_control_system())
"""
HOLD_ADDED = "SELECT added FROM recovery FOR UPDATE"
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
"""
OFFSETS = """
SELECT partition, next, fingerprint, updated_at FROM consumer_offset
WHERE cluster_id = $1 AND topic = $2 ORDER BY partition
"""
REWIND = """
UPDATE consumer_offset SET next = $5, fingerprint = $6, updated_at = now()
WHERE cluster_id = $1 AND topic = $2 AND partition = $3 AND next = $4
"""


class EpochRow(msgspec.Struct, frozen=True):
    """The epoch now. `ago`: since it was seen first, None if nobody has; `highest`: the highest ever seen here;
    `before`: how many earlier ones are known; `at_home`: this is the cluster that we were made or recovered in."""

    epoch: int
    timeline: int
    added: int
    ago: timedelta | None
    highest: int | None
    before: int
    at_home: bool


class OffsetRow(msgspec.Struct, frozen=True):
    partition: int
    next: int
    fingerprint: bytes | None
    updated_at: datetime


async def look(connection: Connection) -> EpochRow:
    row = await connection.fetchrow(LOOK)
    assert row is not None
    return EpochRow(*row)


async def seen(connection: Connection, epoch: int, *, cause: str) -> None:
    """Remember an epoch; who saw it first counts."""
    await connection.execute(SEEN, epoch, cause)


async def history(connection: Connection) -> list[tuple[int, datetime, str]]:
    return [(row[0], row[1], row[2]) for row in await connection.fetch(HISTORY)]


async def hold_added(connection: Connection) -> int:
    """What is added to the timeline, locked until this transaction ends."""
    return int(await connection.fetchval(HOLD_ADDED))


async def raise_to(connection: Connection, *, added: int) -> None:
    """The epoch is the timeline plus `added` from the commit on, in the cluster where this runs."""
    await connection.execute(RAISE, added)


async def end_other_connections(connection: Connection) -> None:
    """Those of our own role: each process connects again, and looks."""
    await connection.execute(END_OTHERS)


async def offsets(connection: Connection, *, identity: str, topic: str) -> list[OffsetRow]:
    return [OffsetRow(*row) for row in await connection.fetch(OFFSETS, identity, topic)]


async def rewind(
    connection: Connection, *, identity: str, topic: str, row: OffsetRow, to: int, fingerprint: bytes | None
) -> bool:
    """Send a consumer back; False if the offset moved since it was looked at."""
    status: str = await connection.execute(REWIND, identity, topic, row.partition, row.next, to, fingerprint)
    return status.endswith(" 1")
