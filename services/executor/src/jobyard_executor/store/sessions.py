"""Worker sessions: one leased row each, by the clock of the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

OPEN = """
INSERT INTO worker (session, instance, host, boot_id, pid, process_start, started_at, beat_at, expires_at, tools,
    levels, slots, version, roles, queues)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp(), clock_timestamp() + $7, $8, $9, $10, $11, $12,
    $13)
"""
BEAT = """
UPDATE worker SET beat = beat + 1, beat_at = clock_timestamp(), expires_at = clock_timestamp() + $2
WHERE session = $1 AND NOT reaped AND expires_at > clock_timestamp() RETURNING beat
"""
LEASES = """
SELECT l.job_id, l.fence, l.claimed_at < clock_timestamp() - $2::interval AS old, j.state = 'cancelling' AS cancelling
FROM lease l JOIN job j USING (job_id) WHERE l.session = $1
"""
SESSIONS = """
SELECT session, instance, host, boot_id, pid, process_start, beat, expires_at < clock_timestamp() AS expired
FROM worker WHERE NOT reaped AND session <> $1
"""
SEIZE = "UPDATE worker SET reaped = true WHERE session = $1 AND NOT reaped AND beat = $2 RETURNING session"
LEASES_OF = "SELECT job_id FROM lease WHERE session = $1 ORDER BY job_id LIMIT $2"
ORPHANS = """
SELECT l.job_id FROM lease l LEFT JOIN worker w USING (session)
WHERE (w.session IS NULL OR w.reaped) AND l.claimed_at < clock_timestamp() - $1::interval ORDER BY l.job_id LIMIT $2
"""
FORGET = """
DELETE FROM worker w WHERE reaped AND beat_at < clock_timestamp() - interval '1 hour'
    AND NOT EXISTS (SELECT FROM lease l WHERE l.session = w.session)
"""
CLOSE = "UPDATE worker SET reaped = true WHERE session = $1"
PROGRESS = """
UPDATE lease l SET progress = n.progress
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS n (job_id, fence, progress)
WHERE l.job_id = n.job_id AND l.fence = n.fence AND l.job_id = ANY($1::text[])
"""


class Identity(msgspec.Struct, frozen=True):
    """A process, so that another can prove later that it is gone."""

    instance: str
    host: str
    boot_id: str
    pid: int
    process_start: int


class Offer(msgspec.Struct, frozen=True):
    """What people are told of a worker: its release, the roles of its process, the queues it works for."""

    version: str = ""
    roles: Sequence[str] = ("work",)
    queues: Sequence[str] = ("*",)


class Seen(msgspec.Struct, frozen=True):
    session: str
    identity: Identity
    beat: int
    expired: bool


class LeaseRow(msgspec.Struct, frozen=True):
    job_id: str
    fence: int
    old: bool
    cancelling: bool


async def open_session(
    connection: Any,
    session: str,
    identity: Identity,
    *,
    ttl: timedelta,
    tools: Sequence[str],
    levels: Sequence[str],
    slots: str,
    offer: Offer = Offer(),  # noqa: B008 - frozen
) -> None:
    who = identity
    await connection.execute(
        OPEN, session, who.instance, who.host, who.boot_id, who.pid, who.process_start, ttl, list(tools),
        list(levels), slots, offer.version, list(offer.roles), list(offer.queues),
    )  # fmt: skip


async def beat(connection: Any, session: str, *, ttl: timedelta) -> bool:
    """Extend the session; False if it has ended, whatever its process thinks."""
    return await connection.fetchval(BEAT, session, ttl) is not None


async def leases(connection: Any, session: str, *, claim_timeout: timedelta) -> list[LeaseRow]:
    return [LeaseRow(*row) for row in await connection.fetch(LEASES, session, claim_timeout)]


async def others(connection: Any, session: str) -> list[Seen]:
    rows = await connection.fetch(SESSIONS, session)
    return [Seen(row[0], Identity(*row[1:6]), row["beat"], row["expired"]) for row in rows]


async def seize(connection: Connection, session: str, *, beat: int) -> bool:
    """End a session whose beat has not moved since it was looked at."""
    return await connection.fetchval(SEIZE, session, beat) is not None


async def leases_of(connection: Connection, session: str, *, limit: int) -> list[str]:
    return [row[0] for row in await connection.fetch(LEASES_OF, session, limit)]


async def orphans(connection: Connection, *, older_than: timedelta, limit: int) -> list[str]:
    """Leases of no session that lives."""
    return [row[0] for row in await connection.fetch(ORPHANS, older_than, limit)]


async def store_progress(connection: Any, rows: Sequence[tuple[str, int, str]]) -> None:
    ordered = sorted(rows)
    await connection.execute(
        PROGRESS, [row[0] for row in ordered], [row[1] for row in ordered], [row[2] for row in ordered]
    )
