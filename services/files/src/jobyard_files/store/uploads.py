"""Uploads: rows in state `uploading`, and the offset that only the newest writer may move."""

from __future__ import annotations

from datetime import datetime

import asyncpg
from jobyard_common.db.connection import Connection

from jobyard_files.domain.file import File
from jobyard_files.store.rows import COLUMNS, file_or_none

INSERT = """
INSERT INTO file (id, tenant, name, content_type, size, received, sha256, state, created_at, completed_at, expires_at,
    job_id, attempt, fence, upload_metadata, event_no, actor_kind, actor_id, correlation_id, traceparent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
"""
COUNT_OPEN = """
SELECT count(*) FROM (SELECT FROM file WHERE tenant = $1 AND state = 'uploading' LIMIT $2) AS open
"""
# A new writer makes every older one powerless; it also learns where the bytes stand and how long the file may be.
BEGIN = f"""
UPDATE file SET writer_epoch = writer_epoch + 1 WHERE id = $1 AND tenant = $2 AND state = 'uploading'
RETURNING {COLUMNS}
"""
ADVANCE = """
UPDATE file SET received = $4, expires_at = $5, size = coalesce(size, $6)
WHERE id = $1 AND tenant = $2 AND state = 'uploading' AND writer_epoch = $3
"""
# Bytes that the disk no longer has were never received.
LOWER = """
UPDATE file SET received = $3, writer_epoch = writer_epoch + 1
WHERE id = $1 AND tenant = $2 AND state = 'uploading' AND received > $3
"""
FINISH = f"""
UPDATE file SET received = $4, size = $4, state = 'hashing', completed_at = $5, expires_at = NULL
WHERE id = $1 AND tenant = $2 AND state = 'uploading' AND writer_epoch = $3
RETURNING {COLUMNS}
"""


async def insert(db: Connection, file: File) -> None:
    await db.execute(
        INSERT,
        file.id,
        file.tenant,
        file.name,
        file.content_type,
        file.size,
        file.received,
        file.sha256,
        file.state,
        file.created_at,
        file.completed_at,
        file.expires_at,
        file.job_id,
        file.attempt,
        file.fence,
        file.upload_metadata,
        file.event_no,
        file.actor.kind,
        file.actor.id,
        file.correlation_id,
        file.traceparent,
    )


async def count_open(db: asyncpg.Pool, *, tenant: str, most: int) -> int:
    """Unfinished uploads of a tenant, counted up to `most`."""
    return int(await db.fetchval(COUNT_OPEN, tenant, most))


async def begin(db: asyncpg.Pool, *, tenant: str, file_id: str) -> File | None:
    """Become the writer; None if the upload is no longer one."""
    return file_or_none(await db.fetchrow(BEGIN, file_id, tenant))


async def advance(db: asyncpg.Pool, file: File, *, received: int, expires_at: datetime, size: int | None) -> bool:
    """Record durable bytes; False for a writer that was overtaken. `size` settles a deferred length."""
    status = await db.execute(ADVANCE, file.id, file.tenant, file.writer_epoch, received, expires_at, size)
    return status == "UPDATE 1"


async def lower(db: asyncpg.Pool, *, tenant: str, file_id: str, received: int) -> None:
    await db.execute(LOWER, file_id, tenant, received)


async def finish(db: asyncpg.Pool | Connection, file: File, *, received: int, now: datetime) -> File | None:
    """All bytes are durable: from here on only the hash is missing. None for a writer that was overtaken."""
    return file_or_none(await db.fetchrow(FINISH, file.id, file.tenant, file.writer_epoch, received, now))
