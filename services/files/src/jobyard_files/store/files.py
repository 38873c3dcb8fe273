"""Files as their owners see them. Every function that serves a caller takes the tenant first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg
from jobyard_common.db.connection import Connection

from jobyard_files.domain.file import File, FileState
from jobyard_files.store.rows import COLUMNS, file_of, file_or_none

FIND = f"SELECT {COLUMNS} FROM file WHERE tenant = $1 AND id = $2"
FIND_MANY = f"SELECT {COLUMNS} FROM file WHERE tenant = $1 AND id = ANY($2::text[])"
LOCK = f"SELECT {COLUMNS} FROM file WHERE tenant = $1 AND id = $2 FOR UPDATE"
LIST_PAGE = f"""
SELECT {COLUMNS} FROM file
WHERE tenant = $1 AND state IN ('uploading', 'hashing', 'ready')
  AND ($2::text IS NULL OR id < $2)
  AND ($3::text[] IS NULL OR state = ANY($3))
  AND ($4::text IS NULL OR job_id = $4)
  AND ($5::text IS NULL OR strpos(lower(name), lower($5)) > 0)
ORDER BY id DESC LIMIT $6
"""
HELD_BY = "SELECT job_id FROM input_hold WHERE file_id = $1 LIMIT 1"
DELETE = f"""
UPDATE file SET state = 'deleted', gone_at = $3, expires_at = NULL, writer_epoch = writer_epoch + 1,
    event_no = event_no + 1
WHERE tenant = $1 AND id = $2 AND state IN ('uploading', 'hashing', 'ready')
RETURNING {COLUMNS}
"""
SEAL = f"""
UPDATE file SET sha256 = $3, content_type = $4, state = 'ready', event_no = event_no + 1
WHERE tenant = $1 AND id = $2 AND state = 'hashing'
RETURNING {COLUMNS}
"""
HASHING = f"SELECT {COLUMNS} FROM file WHERE state = 'hashing' ORDER BY id LIMIT $1"
OUTPUT = f"""
SELECT {COLUMNS} FROM file
WHERE tenant = $1 AND job_id = $2 AND attempt = $3 AND fence = $4 AND name = $5 AND sha256 = $6
  AND state IN ('held', 'ready')
LIMIT 1
"""
OUTPUT_USE = """
SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes FROM file
WHERE job_id = $1 AND attempt = $2 AND fence = $3 AND tenant = $4
"""
RELEASE = f"""
UPDATE file SET state = 'ready', event_no = event_no + 1
WHERE id = ANY($1::text[]) AND state = 'held' AND (tenant, job_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
RETURNING {COLUMNS}
"""


@dataclass(frozen=True)
class Filters:
    """What a list is limited to; `name` is any part of it, `before` the last id of the page before."""

    before: str | None = None
    states: tuple[FileState, ...] = ()
    job_id: str | None = None
    name: str | None = None


async def find(db: asyncpg.Pool, *, tenant: str, file_id: str) -> File | None:
    return file_or_none(await db.fetchrow(FIND, tenant, file_id))


async def find_many(db: asyncpg.Pool, *, tenant: str, ids: list[str]) -> list[File]:
    return [file_of(row) for row in await db.fetch(FIND_MANY, tenant, ids)]


async def lock(db: Connection, *, tenant: str, file_id: str) -> File | None:
    return file_or_none(await db.fetchrow(LOCK, tenant, file_id))


async def page(db: asyncpg.Pool, *, tenant: str, filters: Filters, limit: int) -> list[File]:
    """Newest first; ids sort by age."""
    states = [str(state) for state in filters.states] or None
    rows = await db.fetch(LIST_PAGE, tenant, filters.before, states, filters.job_id, filters.name, limit)
    return [file_of(row) for row in rows]


async def held_by(db: Connection, *, file_id: str) -> str | None:
    """A job that still needs this file, if there is one."""
    found: str | None = await db.fetchval(HELD_BY, file_id)
    return found


async def delete(db: Connection, *, tenant: str, file_id: str, now: datetime) -> File | None:
    return file_or_none(await db.fetchrow(DELETE, tenant, file_id, now))


async def seal(db: Connection, *, tenant: str, file_id: str, sha256: str, content_type: str) -> File | None:
    return file_or_none(await db.fetchrow(SEAL, tenant, file_id, sha256, content_type))


async def unsealed(db: asyncpg.Pool, *, limit: int) -> list[File]:
    """Complete uploads whose hash is missing, of all tenants."""
    return [file_of(row) for row in await db.fetch(HASHING, limit)]


async def same_output(
    db: Connection, *, tenant: str, job_id: str, attempt: int, fence: int, name: str, sha256: str
) -> File | None:
    """The output that an earlier, unanswered request already stored."""
    return file_or_none(await db.fetchrow(OUTPUT, tenant, job_id, attempt, fence, name, sha256))


async def output_use(db: asyncpg.Pool, *, tenant: str, job_id: str, attempt: int, fence: int) -> tuple[int, int]:
    """Number and bytes of the outputs of one attempt."""
    rows = await db.fetch(OUTPUT_USE, job_id, attempt, fence, tenant)
    return (rows[0]["files"], rows[0]["bytes"])


async def release(db: Connection, *, outputs: list[tuple[str, str, str]]) -> list[File]:
    """Make held outputs readable; each is (tenant, job id, file id) as the job's end named it."""
    ids = sorted({file_id for _, _, file_id in outputs})
    owners = sorted({(tenant, job_id) for tenant, job_id, _ in outputs})
    rows = await db.fetch(RELEASE, ids, [tenant for tenant, _ in owners], [job for _, job in owners])
    return [file_of(row) for row in rows]
