"""Blobs: contents by SHA-256, shared by files, removed in two steps and never counted.

Whoever adopts a blob locks its row before any file names it; whoever removes one marks it `deleting` under the same
lock, only while no file names it, and unlinks it under the lock as well. So an adopter meets a blob that is there,
one that it makes anew, or waits until a removal is over.
"""

from __future__ import annotations

from datetime import timedelta

import asyncpg
from jobyard_common.db.connection import Connection

ADOPT = """
INSERT INTO blob (sha256, size) VALUES ($1, $2)
ON CONFLICT (sha256) DO UPDATE SET touched_at = now() WHERE blob.state = 'live'
RETURNING sha256
"""
UNUSED = """
UPDATE blob SET state = 'deleting' WHERE sha256 IN (
    SELECT b.sha256 FROM blob b
    WHERE b.state = 'live' AND b.touched_at < now() - $1::interval
      AND NOT EXISTS (SELECT FROM file f WHERE f.sha256 = b.sha256 AND f.state IN ('held', 'ready'))
    ORDER BY b.sha256 LIMIT $2 FOR UPDATE SKIP LOCKED)
  AND state = 'live'
  AND NOT EXISTS (SELECT FROM file f WHERE f.sha256 = blob.sha256 AND f.state IN ('held', 'ready'))
"""
TAKE_LEAVING = "SELECT sha256 FROM blob WHERE state = 'deleting' ORDER BY sha256 LIMIT 1 FOR UPDATE SKIP LOCKED"
FORGET = "DELETE FROM blob WHERE sha256 = $1 AND state = 'deleting'"
# Contents on disk without a row: given a row that is already leaving, so that an adopter waits for the removal.
CLAIM_ORPHANS = """
INSERT INTO blob (sha256, size, state) SELECT name, 0, 'deleting' FROM unnest($1::text[]) AS name
ON CONFLICT DO NOTHING RETURNING sha256
"""


class BlobLeaving(Exception):
    """The same content is being removed at this moment; a little later it can be stored anew."""


async def adopt(db: Connection, *, sha256: str, size: int) -> None:
    """Lock the row of a content, made if need be, until the caller's transaction ends.

    Raises:
        BlobLeaving: try again in a new transaction.
    """
    if await db.fetchval(ADOPT, sha256, size) is None:
        raise BlobLeaving(sha256)


async def mark_unused(db: asyncpg.Pool, *, grace: timedelta, limit: int) -> int:
    """Mark contents that no file names and nobody touched for `grace`; returns how many."""
    status: str = await db.execute(UNUSED, grace, limit)
    return int(status.rpartition(" ")[2])


async def take_leaving(db: Connection) -> str | None:
    """Lock one content that is marked for removal."""
    found: str | None = await db.fetchval(TAKE_LEAVING)
    return found


async def forget(db: Connection, *, sha256: str) -> None:
    await db.execute(FORGET, sha256)


async def claim_orphans(db: asyncpg.Pool, *, names: list[str]) -> list[str]:
    """Mark those contents on disk that have no row for removal; returns them."""
    return [row["sha256"] for row in await db.fetch(CLAIM_ORPHANS, sorted(names))]
