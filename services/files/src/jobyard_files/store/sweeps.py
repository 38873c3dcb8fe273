"""Rows that time makes obsolete, and the holds that keep inputs of unfinished jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from jobyard_common.db.connection import Connection

from jobyard_files.domain.file import File
from jobyard_files.store.rows import COLUMNS, file_of

EXPIRE_UPLOADS = f"""
UPDATE file SET state = 'expired', gone_at = $1, writer_epoch = writer_epoch + 1, event_no = event_no + 1
WHERE id IN (SELECT id FROM file WHERE state = 'uploading' AND expires_at < $1
             ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING {COLUMNS}
"""
OLD_ATTEMPTS = """
SELECT DISTINCT tenant, job_id, attempt, fence FROM file WHERE state = 'held' AND created_at < $1 LIMIT $2
"""
EXPIRE_HELD = f"""
UPDATE file SET state = 'expired', gone_at = $5, event_no = event_no + 1
WHERE state = 'held' AND tenant = $1 AND job_id = $2 AND attempt = $3 AND fence = $4
RETURNING {COLUMNS}
"""
RELEASE_HELD = f"""
UPDATE file SET state = 'ready', event_no = event_no + 1
WHERE state = 'held' AND tenant = $1 AND job_id = $2 AND attempt = $3 AND fence = $4
RETURNING {COLUMNS}
"""
OPEN_IDS = "SELECT id FROM file WHERE id = ANY($1::text[]) AND state IN ('uploading', 'hashing')"
FORGET_GONE = """
DELETE FROM file WHERE id IN (
    SELECT id FROM file WHERE state IN ('deleted', 'expired') AND gone_at < $1 ORDER BY gone_at LIMIT $2)
"""
PLACE_HOLDS = """
INSERT INTO input_hold (file_id, job_id) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING
"""
LIFT_HOLDS = "DELETE FROM input_hold WHERE job_id = ANY($1::text[])"


@dataclass(frozen=True)
class Attempt:
    """Whose outputs are held."""

    tenant: str
    job_id: str
    attempt: int
    fence: int


async def expire_uploads(db: Connection, *, now: datetime, limit: int) -> list[File]:
    return [file_of(row) for row in await db.fetch(EXPIRE_UPLOADS, now, limit)]


async def old_attempts(db: asyncpg.Pool, *, before: datetime, limit: int) -> list[Attempt]:
    return [Attempt(**dict(row)) for row in await db.fetch(OLD_ATTEMPTS, before, limit)]


async def expire_held(db: Connection, attempt: Attempt, *, now: datetime) -> list[File]:
    rows = await db.fetch(EXPIRE_HELD, attempt.tenant, attempt.job_id, attempt.attempt, attempt.fence, now)
    return [file_of(row) for row in rows]


async def release_held(db: Connection, attempt: Attempt) -> list[File]:
    rows = await db.fetch(RELEASE_HELD, attempt.tenant, attempt.job_id, attempt.attempt, attempt.fence)
    return [file_of(row) for row in rows]


async def open_ids(db: asyncpg.Pool, *, ids: list[str]) -> set[str]:
    """Those of `ids` whose bytes are still only in their part."""
    return {row["id"] for row in await db.fetch(OPEN_IDS, ids)}


async def forget_gone(db: asyncpg.Pool, *, now: datetime, kept: timedelta, limit: int) -> int:
    status: str = await db.execute(FORGET_GONE, now - kept, limit)
    return int(status.rpartition(" ")[2])


async def place_holds(db: Connection, pairs: list[tuple[str, str]]) -> None:
    """Hold (file id, job id) pairs until the job has ended."""
    ordered = sorted(set(pairs))
    await db.execute(PLACE_HOLDS, [file_id for file_id, _ in ordered], [job_id for _, job_id in ordered])


async def lift_holds(db: Connection, jobs: list[str]) -> None:
    await db.execute(LIFT_HOLDS, sorted(jobs))
