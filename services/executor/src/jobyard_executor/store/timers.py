"""Moments at which a waiting job has to be looked at."""

from __future__ import annotations

from datetime import datetime

from jobyard_common.db.connection import Connection

DUE = "SELECT job_id, kind, fire_at FROM timer WHERE fire_at <= $1 ORDER BY fire_at LIMIT $2"
NEXT = "SELECT min(fire_at) FROM timer"
DONE = """
DELETE FROM timer t USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS d (job_id, kind, fire_at)
WHERE t.job_id = d.job_id AND t.kind = d.kind AND t.fire_at = d.fire_at
"""

Due = tuple[str, str, datetime]


async def due(connection: Connection, *, now: datetime, limit: int) -> list[Due]:
    return [(row[0], row[1], row[2]) for row in await connection.fetch(DUE, now, limit)]


async def done(connection: Connection, fired: list[Due]) -> None:
    """Forget timers; one that was set anew meanwhile stays."""
    if fired:
        rows = sorted(fired)
        await connection.execute(DONE, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
