"""Dedupe keys: which job holds one, and until when.

A key is held by an unfinished job (`while_active`, `debounce`; the row goes with the job's end) or for a time (`ttl`).
Lookups name the keys as arrays once more, so that the planner uses the primary key even without statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from jobyard_common.contracts.jobs import DedupeMode
from jobyard_common.db.connection import Connection

from jobyard_executor.store.jobs import AMONG

EXISTING = f"SELECT j.job_id FROM job j WHERE {AMONG}"
QUEUE_UP = """
SELECT pg_advisory_xact_lock(place) FROM (
    SELECT DISTINCT hashtextextended(tenant || chr(31) || key, 0) AS place
    FROM unnest($1::text[], $2::text[]) AS k (tenant, key) ORDER BY 1
) places
"""
_NAMED = """
WHERE tenant = ANY($1::text[]) AND key = ANY($2::text[])
  AND (tenant, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
DEBOUNCED = f"SELECT tenant, key, job_id, at FROM dedupe {_NAMED} AND mode = 'debounce'"
OWNERS = f"SELECT tenant, key, job_id FROM dedupe {_NAMED}"
RELEASE = "DELETE FROM dedupe WHERE job_id = ANY($1::text[])"
TAKE = """
INSERT INTO dedupe AS d (tenant, key, job_id, until, mode, at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::timestamptz[])
ON CONFLICT (tenant, key) DO UPDATE
SET job_id = excluded.job_id, until = excluded.until, mode = excluded.mode, at = excluded.at
WHERE d.until IS NOT NULL AND d.until < clock_timestamp()
"""
LAPSED = """
DELETE FROM dedupe WHERE (tenant, key) IN (
    SELECT tenant, key FROM dedupe WHERE until IS NOT NULL AND until < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""

Key = tuple[str, str]
"""Tenant and key."""


class Claim(msgspec.Struct, frozen=True):
    """One job's wish to hold a key; `at` is when its submit was accepted."""

    tenant: str
    key: str
    job_id: str
    mode: DedupeMode
    at: datetime
    until: datetime | None = None

    @property
    def name(self) -> Key:
        return self.tenant, self.key

    @property
    def age(self) -> tuple[datetime, str]:
        """Orders the submits of a key: by the gateway's time, then by id."""
        return self.at, self.job_id


async def existing(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Which of the jobs were made before: a command that comes again holds no key."""
    return {row[0] for row in await connection.fetch(EXISTING, sorted(job_ids))}


async def queue_up(connection: Connection, keys: Iterable[Key]) -> None:
    """Have the submits of a debounced key decided one after the other, also by two executors."""
    ordered = sorted(keys)
    await connection.execute(QUEUE_UP, [tenant for tenant, _ in ordered], [key for _, key in ordered])


async def debounced(connection: Connection, keys: Iterable[Key]) -> dict[Key, tuple[datetime, str]]:
    """The age and the job of every debounced submit that holds one of these keys."""
    ordered = sorted(keys)
    rows = await connection.fetch(DEBOUNCED, [tenant for tenant, _ in ordered], [key for _, key in ordered])
    return {(row[0], row[1]): (row[3], row[2]) for row in rows}


async def release(connection: Connection, job_ids: Sequence[str]) -> None:
    """Take the keys away from these jobs."""
    if job_ids:
        await connection.execute(RELEASE, list(job_ids))


async def take(connection: Connection, claims: Iterable[Claim]) -> dict[Key, str]:
    """Give every free key to its claim; returns which job holds each of them now. One claim a key."""
    rows = sorted(claims, key=lambda claim: claim.name)
    names = ([row.tenant for row in rows], [row.key for row in rows])
    await connection.execute(
        TAKE,
        *names,
        [row.job_id for row in rows],
        [row.until for row in rows],
        [row.mode.value for row in rows],
        [row.at for row in rows],
    )
    # In the next statement: a rival that committed meanwhile is invisible to the insert itself.
    return {(row[0], row[1]): row[2] for row in await connection.fetch(OWNERS, *names)}
