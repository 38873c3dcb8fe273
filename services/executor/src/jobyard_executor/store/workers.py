"""Workers as operators see them, and the orders that they drain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

VIEW = """
SELECT DISTINCT ON (w.instance) w.session, w.instance, w.host, w.pid, w.version, w.roles, w.queues, w.started_at,
    w.beat_at, w.expires_at > clock_timestamp() AS alive, w.tools, w.levels, w.slots, d.since AS drained_since
FROM worker w LEFT JOIN drained d USING (instance)
WHERE NOT w.reaped AND ($1::text IS NULL OR w.instance = $1)
ORDER BY w.instance, w.expires_at DESC
"""
HELD = "SELECT session, tool, tenant, count(*)::int AS n FROM lease WHERE session = ANY($1::text[]) GROUP BY 1, 2, 3"
ISOLATIONS = """
SELECT DISTINCT ON (name) name, definition::json ->> 'isolation' FROM tool_version ORDER BY name, seen_at DESC
"""
JOBS = """
SELECT job_id, tool, queue, attempt, started_at FROM lease WHERE session = $1 AND tenant = $2
ORDER BY started_at, job_id LIMIT $3
"""
DRAIN = "INSERT INTO drained (instance) VALUES ($1) ON CONFLICT DO NOTHING"
RESUME = "DELETE FROM drained WHERE instance = $1"
KNOWN = "SELECT EXISTS (SELECT FROM worker WHERE instance = $1) OR EXISTS (SELECT FROM drained WHERE instance = $1)"


class WorkerRow(msgspec.Struct, frozen=True):
    """The newest session of an instance."""

    session: str
    instance: str
    host: str
    pid: int
    version: str
    roles: list[str]
    queues: list[str]
    started_at: datetime
    beat_at: datetime
    alive: bool
    tools: list[str]
    levels: list[str]
    slots: str
    drained_since: datetime | None


async def view(connection: Any, instance: str | None = None) -> list[WorkerRow]:
    return [WorkerRow(*row) for row in await connection.fetch(VIEW, instance)]


async def held(connection: Any, sessions: Sequence[str]) -> dict[str, dict[str, int]]:
    """Jobs that run, by session and isolation."""
    rows = await connection.fetch(HELD, sessions)
    if not rows:
        return {}
    isolation = dict(await connection.fetch(ISOLATIONS))
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        of_session = found.setdefault(row["session"], {})
        kind = isolation.get(row["tool"]) or "async"
        of_session[kind] = of_session.get(kind, 0) + row["n"]
    return found


async def jobs(connection: Any, tenant: str, session: str, *, limit: int) -> Sequence[Any]:
    """What a session runs for one tenant, longest first."""
    rows: Sequence[Any] = await connection.fetch(JOBS, session, tenant, limit)
    return rows


async def known(connection: Connection, instance: str) -> bool:
    return bool(await connection.fetchval(KNOWN, instance))


async def drain(connection: Connection, instance: str) -> None:
    """The instance claims nothing from now on, in this session and the next ones."""
    await connection.execute(DRAIN, instance)


async def resume(connection: Connection, instance: str) -> None:
    await connection.execute(RESUME, instance)
