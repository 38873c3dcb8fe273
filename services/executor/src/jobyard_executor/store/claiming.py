"""The statements of a claim. Each is its own, because a lock is only worth what the next statement sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Job
from jobyard_executor.domain.lane import Plan
from jobyard_executor.store.jobs import COLUMNS, EPOCH, job_of

MAX_LANES = 200
LANES = """
WITH RECURSIVE walk AS (
    (SELECT lane, 1 AS n FROM ready WHERE lane > $1 ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT r.lane FROM ready r WHERE r.lane > walk.lane ORDER BY r.lane LIMIT 1), walk.n + 1
    FROM walk WHERE walk.lane IS NOT NULL AND walk.n < $2
)
SELECT lane FROM walk WHERE lane IS NOT NULL
"""
ALIVE = "SELECT 1 FROM worker WHERE session = $1 AND NOT reaped AND expires_at > clock_timestamp() FOR SHARE"
PAUSED = "SELECT name FROM queue WHERE paused"
LIMITED = "SELECT key FROM \"limit\" WHERE key NOT LIKE 'key:%'"
MAKE_LIMITS = 'INSERT INTO "limit" (key, n) SELECT k, 1 FROM unnest($1::text[]) k ON CONFLICT DO NOTHING'
LOCK_LIMITS = 'SELECT key, n FROM "limit" WHERE key = ANY($1::text[]) ORDER BY key FOR NO KEY UPDATE SKIP LOCKED'
READ_LIMITS = 'SELECT key, n FROM "limit" WHERE key = ANY($1::text[])'
USED = """
SELECT key, count(*)::int AS used FROM (
    SELECT 'queue:' || queue AS key FROM lease WHERE 'queue:' || queue = ANY($1::text[])
    UNION ALL SELECT 'tool:' || tool FROM lease WHERE 'tool:' || tool = ANY($1::text[])
    UNION ALL SELECT 'key:' || tenant || '/' || concurrency FROM lease
    WHERE concurrency IS NOT NULL AND 'key:' || tenant || '/' || concurrency = ANY($1::text[])
) held GROUP BY key
"""
PICK = """
WITH candidate AS MATERIALIZED (
    SELECT r.job_id, r.sort_at, o.grp, r.lane
    FROM unnest($1::text[], $2::int[], $3::int[]) AS o (lane, grp, quota)
    CROSS JOIN LATERAL (
        SELECT job_id, sort_at, lane FROM ready
        WHERE ready.lane = o.lane AND (expires_at IS NULL OR expires_at > clock_timestamp())
        ORDER BY lane, sort_at, job_id LIMIT o.quota FOR UPDATE SKIP LOCKED
    ) r
), picked AS MATERIALIZED (
    SELECT job_id FROM (
        SELECT job_id, grp, row_number() OVER (PARTITION BY grp ORDER BY sort_at, job_id) AS place FROM candidate
    ) ranked WHERE place <= ($4::int[])[grp + 1]
)
SELECT array_agg(job_id) FROM picked
"""
TAKE = f"""
SELECT {", ".join(f"j.{name}" for name in COLUMNS)},
    ((SELECT {EPOCH}) << 40) | nextval('fence_seq') AS next_fence, (SELECT {EPOCH}) AS epoch
FROM job j WHERE j.job_id = ANY($1::text[]) ORDER BY j.job_id FOR UPDATE SKIP LOCKED
"""


class Taken(msgspec.Struct):
    """Jobs locked for this claim, with a fence that was never given before."""

    rows: list[tuple[Job, int]]
    epoch: int


async def lanes(connection: Connection, *, after: str) -> list[str]:
    """Lanes with work, at most `MAX_LANES`, beginning after a cursor."""
    return [row[0] for row in await connection.fetch(LANES, after, MAX_LANES)]


async def alive(connection: Connection, session: str) -> bool:
    """Whether the session may claim; it cannot be reaped before this transaction ends."""
    return await connection.fetchval(ALIVE, session) is not None


async def standing_limits(connection: Connection) -> frozenset[str]:
    """Limits of queues and tools that somebody declared."""
    return frozenset(row[0] for row in await connection.fetch(LIMITED))


async def paused_queues(connection: Connection) -> frozenset[str]:
    return frozenset(row[0] for row in await connection.fetch(PAUSED))


async def room(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Lock limits and count their live leases in the next statement; a limit that somebody else holds has no room."""
    wanted = sorted(keys)
    if not wanted:
        return {}
    await connection.execute(MAKE_LIMITS, [key for key in wanted if key.startswith("key:")])
    locked = {row["key"]: row["n"] for row in await connection.fetch(LOCK_LIMITS, wanted)}
    used = {row["key"]: row["used"] for row in await connection.fetch(USED, sorted(locked))} if locked else {}
    return {key: max(0, locked[key] - used.get(key, 0)) if key in locked else 0 for key in wanted}


async def take(connection: Connection, plan: Plan) -> Taken:
    """Lock the jobs that the plan's lanes offer first; those that somebody else holds stay where they are."""
    ids: Sequence[str] | None = await connection.fetchval(
        PICK,
        [order.lane for order in plan.orders],
        [order.group for order in plan.orders],
        [order.quota for order in plan.orders],
        list(plan.shares),
    )
    if not ids:
        return Taken([], 0)
    rows: Sequence[Any] = await connection.fetch(TAKE, sorted(ids))
    return Taken([(job_of(row), row[-2]) for row in rows], rows[0][-1] if rows else 0)
