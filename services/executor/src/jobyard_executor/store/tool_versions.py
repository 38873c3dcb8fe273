"""Versions of tools: which of them some worker offers, and which nobody has offered for too long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.db.connection import Connection

_OFFERED = """
    SELECT FROM worker w WHERE NOT w.reaped AND w.expires_at > clock_timestamp()
      AND w.tools @> ARRAY[t.name || '@' || t.version]
"""
SEEN = f"""
UPDATE tool_version t SET seen_at = clock_timestamp()
WHERE NOT retired AND seen_at < clock_timestamp() - $1::interval AND EXISTS ({_OFFERED})
"""
RETIRE = f"""
UPDATE tool_version t SET retired = true
WHERE NOT retired AND seen_at < clock_timestamp() - $1::interval AND NOT EXISTS ({_OFFERED})
RETURNING name, version
"""
RETIRED = "SELECT name, version FROM tool_version WHERE retired"
FATE = "SELECT retired, seen_at FROM tool_version WHERE name = $1 AND version = $2"
LANES = """
WITH RECURSIVE walk AS (
    (SELECT lane, 1 AS n FROM ready ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT r.lane FROM ready r WHERE r.lane > walk.lane ORDER BY r.lane LIMIT 1), walk.n + 1
    FROM walk WHERE walk.lane IS NOT NULL AND walk.n < $1
)
SELECT lane FROM walk WHERE lane IS NOT NULL
"""
WAITING = 'SELECT job_id FROM ready WHERE lane = $1 ORDER BY sort_at, job_id COLLATE "POSIX" LIMIT $2'

REGISTER = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[])
        AS g (name, version, hash, definition, concurrency)
), kept AS (
    INSERT INTO tool_version AS t (name, version, hash, definition, seen_at)
    SELECT DISTINCT ON (name, version) name, version, hash, definition, clock_timestamp() FROM given
    ORDER BY name, version
    ON CONFLICT (name, version) DO UPDATE SET seen_at = excluded.seen_at, retired = false WHERE t.hash = excluded.hash
    RETURNING name, version
), declared AS (
    SELECT DISTINCT ON (name) 'tool:' || name AS key, concurrency FROM kept JOIN given USING (name, version)
    WHERE concurrency IS NOT NULL ORDER BY name, version DESC
), limited AS (
    INSERT INTO "limit" AS l (key, n, declared) SELECT key, concurrency, true FROM declared ORDER BY key
    ON CONFLICT (key) DO UPDATE SET n = excluded.n, version = l.version + 1, changed_at = now()
        WHERE l.declared AND l.n IS DISTINCT FROM excluded.n
)
SELECT name, version FROM kept
"""
"""One statement for all tools: a process that stops in the middle of it holds nobody up."""

Version = tuple[str, str]


async def register(connection: Connection, tools: Sequence[tuple[ToolDefinition, str]]) -> set[Version]:
    """Note definitions with their texts, and the limits that they declare; returns those that were taken.

    A version that is known with another hash is not taken.
    """
    limits = [tool.limits.get("concurrency") for tool, _ in tools]
    rows = await connection.fetch(
        REGISTER,
        [tool.name for tool, _ in tools],
        [tool.version for tool, _ in tools],
        [tool.hash for tool, _ in tools],
        [text for _, text in tools],
        [limit if isinstance(limit, int) else None for limit in limits],
    )
    return {(row[0], row[1]) for row in rows}


async def seen(connection: Connection, *, older_than: timedelta) -> None:
    """Note that live workers offer these versions, for those whose note is older than this."""
    await connection.execute(SEEN, older_than)


async def retire(connection: Connection, *, after: timedelta) -> list[Version]:
    """Retire what no live worker offers and nobody has offered for `after`."""
    return [(row[0], row[1]) for row in await connection.fetch(RETIRE, after)]


async def retired(connection: Connection) -> set[Version]:
    return {(row[0], row[1]) for row in await connection.fetch(RETIRED)}


async def fate(connection: Connection, name: str, version: str) -> tuple[bool, datetime] | None:
    """Whether a version is retired, and when it was last offered; None for one that never was."""
    row = await connection.fetchrow(FATE, name, version)
    return None if row is None else (row[0], row[1])


async def lanes(connection: Connection, *, limit: int) -> Sequence[str]:
    """Lanes with waiting jobs, whatever their number of jobs."""
    return [row[0] for row in await connection.fetch(LANES, limit)]


async def waiting(connection: Connection, lane: str, *, limit: int) -> Sequence[str]:
    return [row[0] for row in await connection.fetch(WAITING, lane, limit)]
