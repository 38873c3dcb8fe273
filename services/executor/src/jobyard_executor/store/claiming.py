"""The statements of a claim. Each is its own, because a lock is only worth what the next statement sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import JobSpec
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Job
from jobyard_executor.domain.lane import flow_of
from jobyard_executor.domain.newborn import Newborns
from jobyard_executor.domain.plan import Plan
from jobyard_executor.store.jobs import AMONG, COLUMNS, EPOCH, job_of

MAX_LANES = 200
MAX_FLOWS = 48
LANES = """
WITH RECURSIVE queued AS (
    (SELECT split_part(lane, '/', 1) AS queue FROM ready ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT split_part(r.lane, '/', 1) FROM ready r WHERE r.lane > queued.queue || '0' ORDER BY r.lane LIMIT 1)
    FROM queued WHERE queued.queue IS NOT NULL
)
SELECT q.queue, f.flow, l.lane, l.sort_at
FROM queued q
LEFT JOIN unnest($3::text[], $4::text[]) AS c (queue, after) ON c.queue = q.queue
CROSS JOIN LATERAL (
    WITH RECURSIVE walk AS (
        (SELECT split_part(r.lane, E'\\x01', 1) AS flow, 1 AS n FROM ready r
         WHERE r.lane > coalesce(c.after, q.queue || '/') AND r.lane < q.queue || '0' ORDER BY r.lane LIMIT 1)
        UNION ALL
        SELECT (SELECT split_part(r.lane, E'\\x01', 1) FROM ready r
                WHERE r.lane > walk.flow || E'\\x02' AND r.lane < q.queue || '0' ORDER BY r.lane LIMIT 1), walk.n + 1
        FROM walk WHERE walk.flow IS NOT NULL AND walk.n < $7
    )
    SELECT flow FROM walk WHERE flow IS NOT NULL
) f
LEFT JOIN unnest($5::text[], $6::text[]) AS d (flow, after) ON d.flow = f.flow
LEFT JOIN LATERAL (
    WITH RECURSIVE walk AS (
        (SELECT r.lane, r.sort_at, 1 AS n FROM ready r
         WHERE r.lane > coalesce(d.after, f.flow || E'\\x01') AND r.lane < f.flow || E'\\x02'
         ORDER BY r.lane, r.sort_at LIMIT 1)
        UNION ALL
        SELECT n.lane, n.sort_at, walk.n + 1 FROM walk CROSS JOIN LATERAL (
            SELECT r.lane, r.sort_at FROM ready r WHERE r.lane > walk.lane AND r.lane < f.flow || E'\\x02'
            ORDER BY r.lane, r.sort_at LIMIT 1
        ) n WHERE walk.n < $8
    )
    SELECT lane, sort_at FROM walk
) l ON true
WHERE q.queue IS NOT NULL AND ($1::text[] IS NULL OR q.queue = ANY($1::text[])) AND q.queue <> ALL($2::text[])
LIMIT 1000
"""
"""Queues with work, then flows of each after its cursor, then lanes of each after its own: one probe of the index a
step, whatever lies between."""
FIRST_LANES = """
WITH RECURSIVE walk AS (
    (SELECT r.lane, r.sort_at, 1 AS n FROM ready r ORDER BY r.lane, r.sort_at LIMIT 1)
    UNION ALL
    SELECT next.lane, next.sort_at, walk.n + 1 FROM walk CROSS JOIN LATERAL (
        SELECT r.lane, r.sort_at FROM ready r WHERE r.lane > walk.lane ORDER BY r.lane, r.sort_at LIMIT 1
    ) next WHERE walk.n < $1
)
SELECT lane, sort_at FROM walk
"""
"""All lanes where they are few: a fifth of what the walk over queues and flows costs."""
ALIVE = """
SELECT EXISTS (SELECT FROM drained d WHERE d.instance = w.instance) AS drained,
    ARRAY(SELECT name FROM queue WHERE paused) AS paused
FROM worker w WHERE w.session = $1 AND NOT w.reaped AND w.expires_at > clock_timestamp() FOR SHARE OF w
"""
MAKE_LIMITS = """
INSERT INTO "limit" (key, n, auto) SELECT k, 1, true FROM unnest($1::text[]) k ORDER BY k ON CONFLICT DO NOTHING
"""
_DEBT = "greatest(extract(epoch FROM next_at - clock_timestamp()), 0)::float8 * rate_n / rate_s"
"""Starts that the rate has not earned back yet."""
_ROOM = f"""
key, n, CASE WHEN rate_n IS NOT NULL THEN coalesce(burst - ceil({_DEBT} - 1e-6), burst)::int END AS starts,
CASE WHEN rate_n IS NOT NULL THEN greatest(coalesce({_DEBT}, 0) - burst + 1, 0) * rate_s / rate_n END AS wait_s
"""
LOCK_LIMITS = f"""
SELECT {_ROOM} FROM "limit" WHERE key = ANY($1::text[]) ORDER BY key FOR NO KEY UPDATE SKIP LOCKED
"""
READ_LIMITS = f'SELECT {_ROOM} FROM "limit" WHERE key = ANY($1::text[])'
SPEND = """
UPDATE "limit" l
SET next_at = greatest(l.next_at, clock_timestamp()) + s.starts * (l.rate_s / l.rate_n) * interval '1 s'
FROM unnest($1::text[], $2::int[]) AS s (key, starts) WHERE l.key = s.key AND l.key = ANY($1::text[])
"""
USED = """
SELECT key, count(*)::int AS used FROM (
    SELECT 'queue:' || queue AS key FROM lease WHERE 'queue:' || queue = ANY($1::text[])
    UNION ALL SELECT 'tool:' || tool FROM lease WHERE 'tool:' || tool = ANY($1::text[])
    UNION ALL SELECT 'tenant:' || tenant FROM lease WHERE 'tenant:' || tenant = ANY($1::text[])
    UNION ALL SELECT 'key:' || tenant || '/' || concurrency FROM lease
    WHERE concurrency = ANY($2::text[]) AND 'key:' || tenant || '/' || concurrency = ANY($1::text[])
) held GROUP BY key
"""
PICK = """
WITH candidate AS MATERIALIZED (
    SELECT r.job_id, r.sort_at, o.grp, r.lane
    FROM unnest($1::text[], $2::int[], $3::int[]) AS o (lane, grp, quota)
    CROSS JOIN LATERAL (
        SELECT job_id, sort_at, lane FROM ready
        WHERE ready.lane = o.lane AND (expires_at IS NULL OR expires_at > clock_timestamp())
        ORDER BY lane, sort_at, job_id COLLATE "POSIX" LIMIT o.quota FOR UPDATE SKIP LOCKED
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
FROM job j WHERE {AMONG} ORDER BY j.job_id FOR UPDATE SKIP LOCKED
"""

TAKE_KNOWN = f"""
SELECT j.job_id, j.event_no, j.born_ms,
    ((SELECT {EPOCH}) << 40) | nextval('fence_seq') AS next_fence, (SELECT {EPOCH}) AS epoch
FROM job j WHERE {AMONG} ORDER BY j.job_id FOR UPDATE SKIP LOCKED
"""
READ_LOCKED = f"SELECT {', '.join(f'j.{name}' for name in COLUMNS)} FROM job j WHERE {AMONG}"


class Found(msgspec.Struct, frozen=True):
    """One lane of the walk; a flow whose lanes all lie before its cursor has none."""

    queue: str
    flow: str
    lane: str | None
    first: datetime | None


class Standing(msgspec.Struct, frozen=True):
    """What a session may do at this moment."""

    drained: bool
    paused: frozenset[str]


class Room(msgspec.Struct):
    """What limits still allow, by key. Rates are among the `rated`; `wait_s` is until one of them allows a start."""

    left: dict[str, int]
    rated: frozenset[str]
    wait_s: float | None
    gone: frozenset[str]
    """Keys that have no row, or whose row somebody else holds."""


class State(msgspec.Struct, frozen=True):
    """A limit at this moment; `starts` and `wait_s` are None without a rate."""

    key: str
    n: int | None
    starts: int | None
    wait_s: float | None
    used: int


class Taken(msgspec.Struct):
    """Jobs locked for this claim, with a fence that was never given before."""

    rows: list[tuple[Job, int, JobSpec | None]]
    """A job, its next fence, and its spec if that is known already."""
    epoch: int


async def lanes(
    connection: Connection,
    *,
    queues: Sequence[str] | None = None,
    without: Sequence[str] = (),
    flows_after: Mapping[str, str] | None = None,
    lanes_after: Mapping[str, str] | None = None,
    flows: int = MAX_FLOWS,
    lanes: int = MAX_LANES,
) -> list[Found]:
    """Lanes with work: at most `flows` of each queue, `lanes` of each flow, beginning after their cursors."""
    before, inside = flows_after or {}, lanes_after or {}
    rows = await connection.fetch(
        LANES, queues, without, list(before), list(before.values()), list(inside), list(inside.values()), flows, lanes
    )
    return [Found(*row) for row in rows]


async def first_lanes(connection: Connection, *, limit: int) -> list[Found]:
    """The first lanes of all queues."""
    rows = await connection.fetch(FIRST_LANES, limit)
    return [Found(row[0].partition("/")[0], flow_of(row[0]), row[0], row[1]) for row in rows]


async def alive(connection: Connection, session: str) -> Standing | None:
    """Whether the session may claim, None if not; it cannot be reaped before this transaction ends."""
    row = await connection.fetchrow(ALIVE, session)
    return None if row is None else Standing(row[0], frozenset(row[1]))


async def make_limits(connection: Connection, keys: Sequence[str]) -> None:
    """A concurrency key that nobody put a limit on runs one job at a time."""
    await connection.execute(MAKE_LIMITS, keys)


async def room(connection: Connection, keys: Sequence[str]) -> Room:
    """Lock limits and count their live leases in the next statement; a limit that somebody else holds has no room."""
    locked = await connection.fetch(LOCK_LIMITS, keys)
    counted = [row["key"] for row in locked if row["n"] is not None]
    used = await held(connection, counted)
    left = dict.fromkeys(keys, 0)
    for row in locked:
        bounds = [] if row["n"] is None else [row["n"] - used.get(row["key"], 0)]
        if row["starts"] is not None:
            bounds.append(row["starts"])
        if bounds:
            left[row["key"]] = max(0, min(bounds))
        else:
            del left[row["key"]]
    waits = [row["wait_s"] for row in locked if row["wait_s"]]
    found = {row["key"] for row in locked}
    rated = frozenset(row["key"] for row in locked if row["starts"] is not None)
    return Room(left, rated, min(waits, default=None), frozenset(key for key in keys if key not in found))


async def held(connection: Any, keys: Sequence[str]) -> dict[str, int]:
    """Live leases under each limit."""
    if not keys:
        return {}
    names = [key.partition("/")[2] for key in keys if key.startswith("key:")]
    return {row["key"]: row["used"] for row in await connection.fetch(USED, keys, names)}


async def room_now(connection: Any, keys: Sequence[str]) -> list[State]:
    """Limits as they are, without locking them: for people, not for claims."""
    rows = await connection.fetch(READ_LIMITS, keys)
    used = await held(connection, [row["key"] for row in rows])
    return [State(row["key"], row["n"], row["starts"], row["wait_s"], used.get(row["key"], 0)) for row in rows]


async def spend(connection: Connection, starts: Mapping[str, int]) -> None:
    """Take starts off their rates, whose rows this transaction has locked."""
    ordered = sorted(starts.items())
    await connection.execute(SPEND, [key for key, _ in ordered], [count for _, count in ordered])


async def take(connection: Connection, plan: Plan, newborns: Newborns) -> Taken:
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
    if newborns.know(ids):
        return await _take_known(connection, sorted(ids), newborns)
    rows: Sequence[Any] = await connection.fetch(TAKE, sorted(ids))
    return Taken([(job_of(row), row[-2], None) for row in rows], rows[0][-1] if rows else 0)


async def _take_known(connection: Connection, ids: list[str], newborns: Newborns) -> Taken:
    """Where most jobs were made here, only what tells whether they changed is read of each."""
    rows: Sequence[Any] = await connection.fetch(TAKE_KNOWN, ids)
    known = {row[0]: newborns.take(row[0], event_no=row[1], born_ms=row[2]) for row in rows}
    others = sorted(job_id for job_id, newborn in known.items() if newborn is None)
    found: Sequence[Any] = await connection.fetch(READ_LOCKED, others) if others else ()
    read = {row[0]: job_of(row) for row in found}
    taken: list[tuple[Job, int, JobSpec | None]] = []
    for row in rows:
        newborn = known[row[0]]
        taken.append((read[row[0]], row[3], None) if newborn is None else (newborn.job, row[3], newborn.spec))
    return Taken(taken, rows[0][-1] if rows else 0)
