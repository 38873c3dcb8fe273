"""Forgetting single jobs before their partition goes: looked through in the order of their ids, with a cursor.

Deletions name their values as arrays once more, so that partitions are pruned and the index is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

BEGIN = "INSERT INTO prune_cursor (name, job_id) VALUES ($1, '') ON CONFLICT DO NOTHING"
CURSOR = "SELECT job_id FROM prune_cursor WHERE name = $1 FOR UPDATE SKIP LOCKED"
MOVE = "UPDATE prune_cursor SET job_id = $2 WHERE name = $1"
NEXT = """
SELECT job_id, tenant, state, created_at, finished_at, spec::json ->> 'tool' AS tool FROM job
WHERE job_id > $1 AND job_id < $2 ORDER BY job_id LIMIT $3
"""
KEYED = """
SELECT job_id, tenant, state, created_at, finished_at, '' AS tool FROM job_done_keyed
WHERE finished_at < $1 ORDER BY finished_at LIMIT $2
"""
LABELS = """
SELECT label_key(label) AS label FROM job_list l, unnest(l.labels) AS label
WHERE l.tenant = ANY($2::text[]) AND l.created_at = ANY($3::timestamptz[]) AND l.job_id = ANY($1::text[])
UNION
SELECT 's:' || j.schedule_id FROM job j WHERE j.job_id = ANY($1::text[]) AND j.schedule_id IS NOT NULL
UNION
SELECT unnest('{d:open,d:replayed,d:discarded}'::text[]) FROM job j WHERE j.job_id = ANY($1::text[]) AND j.dead
"""
UNLABEL = """
DELETE FROM job_label WHERE tenant = ANY($2::text[]) AND label = ANY($4::text[])
  AND created_at = ANY($3::timestamptz[]) AND job_id = ANY($1::text[])
"""
EDGES = "DELETE FROM edge WHERE child_id = ANY($1::text[])"
BY_ID = tuple(
    f"DELETE FROM {table} WHERE job_id = ANY($1::text[])" for table in ("job", "attempt", "result", "lifecycle")
)
LISTED = """
DELETE FROM job_list l USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS n (job_id, tenant, created_at)
WHERE l.tenant = n.tenant AND l.created_at = n.created_at AND l.job_id = n.job_id
  AND l.tenant = ANY($2::text[]) AND l.created_at = ANY($3::timestamptz[]) AND l.job_id = ANY($1::text[])
"""
DONE = """
DELETE FROM job_done d
USING unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[]) AS n (job_id, tenant, created_at, state)
WHERE d.tenant = n.tenant AND d.state = n.state AND d.created_at = n.created_at AND d.job_id = n.job_id
  AND d.tenant = ANY($2::text[]) AND d.state = ANY($4::text[]) AND d.created_at = ANY($3::timestamptz[])
  AND d.job_id = ANY($1::text[])
"""


class Row(msgspec.Struct, frozen=True):
    job_id: str
    tenant: str
    state: str
    created_at: datetime
    finished_at: datetime | None
    tool: str


async def cursor(connection: Connection, name: str) -> str | None:
    """How far a rule has looked, locked for this transaction; None while another executor looks."""
    await connection.execute(BEGIN, name)
    found = await connection.fetchval(CURSOR, name)
    return None if found is None else str(found)


async def move(connection: Connection, name: str, job_id: str) -> None:
    await connection.execute(MOVE, name, job_id)


async def following(connection: Connection, *, after: str, before: str, limit: int) -> list[Row]:
    """The next jobs in the order of their ids."""
    rows: Sequence[Any] = await connection.fetch(NEXT, after, before, limit)
    return [Row(*row) for row in rows]


async def keyed(connection: Connection, *, before: datetime, limit: int) -> list[Row]:
    """Jobs with keyed ids that ended before a moment, oldest first."""
    return [Row(*row) for row in await connection.fetch(KEYED, before, limit)]


async def forget(connection: Connection, rows: Sequence[Row]) -> None:
    """Delete all that is kept of these finished jobs."""
    ids = [row.job_id for row in rows]
    tenants, created = [row.tenant for row in rows], [row.created_at for row in rows]
    labels = [row[0] for row in await connection.fetch(LABELS, ids, tenants, created)]
    if labels:
        await connection.execute(UNLABEL, ids, tenants, created, labels)
    await connection.execute(EDGES, ids)
    for statement in BY_ID:
        await connection.execute(statement, ids)
    await connection.execute(LISTED, ids, tenants, created)
    await connection.execute(DONE, ids, tenants, created, [row.state for row in rows])
