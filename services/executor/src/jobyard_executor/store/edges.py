"""Who waits for whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobyard_common.db.connection import Connection

CLOSE = """
UPDATE edge SET done = true WHERE parent_id = ANY($1::text[]) AND NOT done RETURNING parent_id, child_id
"""
OLD_BLOCKED = """
SELECT since, job_id FROM blocked WHERE since < $1 AND since >= $2 AND (since, job_id) > ($2, $3)
ORDER BY since, job_id LIMIT $4
"""
Place = tuple[datetime, str]
"""Since when a job is blocked, and its id."""
FORGET = """
DELETE FROM edge WHERE (parent_id, child_id) IN (
    SELECT parent_id, child_id FROM edge
    WHERE done AND child_id >= $1 AND child_id < $2
        AND (SELECT true FROM job WHERE job.job_id = edge.child_id) IS NULL
    LIMIT $3)
"""
"""By a span of children, so that only what is old is looked at; each looks for its job, which no join does."""
PARENTS = """
SELECT e.child_id, e.parent_id, j.state, e.done FROM edge e LEFT JOIN job j ON j.job_id = e.parent_id
WHERE e.child_id = ANY($1::text[])
"""


async def close(connection: Connection, parents: Sequence[str]) -> list[tuple[str, str]]:
    """Mark the open edges of ended parents as done; returns them as (parent, child)."""
    return [(row[0], row[1]) for row in await connection.fetch(CLOSE, sorted(parents))]


async def old_blocked(connection: Connection, *, before: datetime, after: Place, limit: int) -> list[Place]:
    """The next ones behind `after`, those that wait longest first."""
    return [(row[0], row[1]) for row in await connection.fetch(OLD_BLOCKED, before, *after, limit)]
