"""Queues as operators see and change them, routes of tools, counts of what waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.ageing import STEP

CAP = 10_000
_COLUMNS = "name, paused, draining, weight, max_waiting, declared, version, changed_at"
ALL = f"SELECT {_COLUMNS} FROM queue ORDER BY name"
OF_TOOLS = "SELECT DISTINCT definition::json ->> 'queue' AS name FROM tool_version WHERE NOT retired"
MAKE = "INSERT INTO queue (name, version) VALUES ($1, 0) ON CONFLICT DO NOTHING"
LOCK = f"SELECT {_COLUMNS} FROM queue WHERE name = $1 FOR UPDATE"
CHANGE = f"""
UPDATE queue SET paused = $2, draining = $3, weight = $4, max_waiting = $5, declared = $6, version = version + 1,
    changed_at = now()
WHERE name = $1 RETURNING {_COLUMNS}
"""
DECLARE = """
INSERT INTO queue AS q (name, weight, max_waiting, declared) VALUES ($1, $2, $3, true)
ON CONFLICT (name) DO UPDATE SET weight = excluded.weight, max_waiting = excluded.max_waiting, version = q.version + 1
WHERE q.declared AND (q.weight, q.max_waiting) IS DISTINCT FROM (excluded.weight, excluded.max_waiting)
"""
WAITING = """
SELECT split_part(lane, '/', 1) AS queue, tenant, sum(n)::int AS n, min(first + weight * $1::interval) AS oldest
FROM (
    SELECT lane, tenant, date_part('microseconds', sort_at)::int % 10 AS weight, count(*) AS n, min(sort_at) AS first
    FROM ready GROUP BY 1, 2, 3
) lanes GROUP BY 1, 2
"""
"""By lane first: names are taken apart and times shifted once a lane, not once a job."""
RUNNING = """
SELECT l.queue, j.state, count(*)::int AS n
FROM lease l CROSS JOIN LATERAL (SELECT state FROM job WHERE job_id = l.job_id OFFSET 0) j GROUP BY 1, 2
"""
LATER = """
SELECT x.queue, j.state, count(*)::int AS n FROM (
    (SELECT job_id FROM timer WHERE kind = 'start' LIMIT $1) UNION ALL (SELECT job_id FROM blocked LIMIT $1)
) later
CROSS JOIN LATERAL (SELECT job_id, tenant, created_at, state FROM job WHERE job_id = later.job_id OFFSET 0) j
CROSS JOIN LATERAL (
    SELECT queue FROM job_list l
    WHERE l.tenant = j.tenant AND l.created_at = j.created_at AND l.job_id = j.job_id OFFSET 0
) x
WHERE j.state IN ('scheduled', 'retry_wait', 'blocked') GROUP BY 1, 2
"""
"""Row by row through the indexes: a join would read the whole history, and a spec costs more to parse than to find."""
FLOWS = """
SELECT queue, sum(came)::float8 AS came, sum(went)::float8 AS went FROM queue_flow
WHERE at > clock_timestamp() - interval '20 s' GROUP BY 1
"""
KEEP_FLOW = """
INSERT INTO queue_flow (instance, queue, came, went, at)
SELECT $1, q, c, w, clock_timestamp() FROM unnest($2::text[], $3::float8[], $4::float8[]) AS n (q, c, w)
ON CONFLICT (instance, queue) DO UPDATE SET came = excluded.came, went = excluded.went, at = excluded.at
"""
OLD_FLOW = "DELETE FROM queue_flow WHERE at < clock_timestamp() - interval '1 day'"
ROUTES = "SELECT tool, queue, declared, changed_at FROM route ORDER BY tool"
ROUTE = "SELECT tool, queue, declared, changed_at FROM route WHERE tool = $1 FOR UPDATE"
PUT_ROUTE = """
INSERT INTO route AS r (tool, queue, declared) VALUES ($1, $2, $3)
ON CONFLICT (tool) DO UPDATE SET queue = excluded.queue, declared = excluded.declared, changed_at = now()
WHERE r.declared OR NOT excluded.declared
"""
DELETE_ROUTE = "DELETE FROM route WHERE tool = $1 RETURNING tool"


class QueueRow(msgspec.Struct, frozen=True):
    """`declared` says that settings made it and nobody changed it since. A queue without a row has version 0."""

    name: str
    paused: bool = False
    draining: bool = False
    weight: float = 1.0
    max_waiting: int | None = None
    declared: bool = False
    version: int = 0
    changed_at: datetime | None = None


class Waiting(msgspec.Struct, frozen=True):
    """Waiting jobs of one queue and tenant."""

    queue: str
    tenant: str
    n: int
    oldest: datetime


class Route(msgspec.Struct, frozen=True):
    tool: str
    queue: str
    declared: bool
    changed_at: datetime


async def all_queues(connection: Any) -> dict[str, QueueRow]:
    """Every queue that settings, a tool or an operator named, and `default`."""
    found = {row["name"]: QueueRow(*row) for row in await connection.fetch(ALL)}
    named = {"default", *(row["name"] or "default" for row in await connection.fetch(OF_TOOLS))}
    return found | {name: QueueRow(name) for name in named if name not in found}


async def lock(connection: Connection, name: str) -> QueueRow:
    """The row of a known queue, made where it is new."""
    await connection.execute(MAKE, name)
    return QueueRow(*(await connection.fetch(LOCK, name))[0])


async def change(connection: Connection, row: QueueRow) -> QueueRow:
    rows = await connection.fetch(CHANGE, row.name, row.paused, row.draining, row.weight, row.max_waiting, row.declared)
    return QueueRow(*rows[0])


async def declare(connection: Connection, name: str, *, weight: float, max_waiting: int | None) -> None:
    """Take a queue from the settings; what an operator changed stays."""
    await connection.execute(DECLARE, name, weight, max_waiting)


async def waiting(connection: Any) -> list[Waiting]:
    """Reads all of `ready`: ask through `handlers/count_waiting.py`."""
    return [Waiting(*row) for row in await connection.fetch(WAITING, STEP)]


async def active(connection: Any) -> list[tuple[str, str, int]]:
    """(queue, state, jobs) of what runs, waits for a time or waits for parents; of the latter two at most `CAP`."""
    rows = [*await connection.fetch(RUNNING), *await connection.fetch(LATER, CAP)]
    return [(row["queue"], row["state"], row["n"]) for row in rows]


async def flows(connection: Any) -> Mapping[str, tuple[float, float]]:
    """Jobs that came to and went from each queue in the last minute, over all executors."""
    return {row["queue"]: (row["came"], row["went"]) for row in await connection.fetch(FLOWS)}


async def keep_flow(connection: Any, instance: str, rows: Sequence[tuple[str, int, int]]) -> None:
    names, came, went = ([row[place] for row in rows] for place in range(3))
    await connection.execute(KEEP_FLOW, instance, names, came, went)


async def routes(connection: Any) -> list[Route]:
    return [Route(*row) for row in await connection.fetch(ROUTES)]


async def route(connection: Connection, tool: str) -> Route | None:
    row = await connection.fetchrow(ROUTE, tool)
    return None if row is None else Route(*row)


async def put_route(connection: Connection, tool: str, queue: str, *, declared: bool = False) -> None:
    """Jobs of this tool that name no queue go there; a rule of the settings does not replace one of an operator."""
    await connection.execute(PUT_ROUTE, tool, queue, declared)


async def remove_route(connection: Connection, tool: str) -> bool:
    return await connection.fetchval(DELETE_ROUTE, tool) is not None
