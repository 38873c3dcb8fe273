"""Reads for people and services: one job, lists, counts, history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import TERMINAL

from jobyard_executor.domain.job import Job
from jobyard_executor.store import jobs

COUNT_CAP = 10_000
RESULT = """
SELECT attempt, value, return_code, stdout, stderr, truncated, files, run_ms FROM result WHERE job_id = $1
"""
LIFECYCLE = """
SELECT event_no, at, type, state, reason, attempt, actor, data, output_seq, incarnation FROM lifecycle
WHERE job_id = $1 AND event_no > $2 ORDER BY event_no LIMIT $3
"""
ATTEMPTS = """
SELECT attempt, fence, worker, verdict, started_at, finished_at, run_ms, return_code, error FROM attempt
WHERE job_id = $1 ORDER BY attempt
"""
KEYED = "SELECT job_id, body_hash FROM keyed_id WHERE job_id = $1 AND tenant = $2"
ATTEMPT_END = "SELECT verdict FROM attempt WHERE job_id = $1 AND attempt = $2 AND fence = $3"
AHEAD = "SELECT count(*)::int FROM (SELECT FROM ready WHERE lane = $1 AND (sort_at, job_id) < ($2, $3) LIMIT 10000) a"
READY = "SELECT lane, sort_at FROM ready WHERE job_id = $1"
OPEN_PARENTS = """
SELECT e.parent_id, j.state FROM edge e LEFT JOIN job j ON j.job_id = e.parent_id
WHERE e.child_id = $1 AND NOT e.done ORDER BY e.parent_id LIMIT 100
"""
TERMINAL_STATES = frozenset(state.value for state in TERMINAL)


class Filters(msgspec.Struct):
    """Of the list. Tags and metadata must all match, of states, tools and queues any one."""

    states: list[str] = []
    tools: list[str] = []
    queues: list[str] = []
    labels: list[str] = []
    correlation_ids: list[str] = []
    parent_ids: list[str] = []
    created_after: datetime | None = None
    created_before: datetime | None = None


class Shown(msgspec.Struct):
    """A job with its newest progress."""

    job: Job
    live: str | None
    epoch: int


def _where(tenant: str, filters: Filters, parameters: list[Any]) -> list[str]:
    def use(value: Any) -> str:
        parameters.append(value)
        return f"${len(parameters)}"

    found = [f"l.tenant = {use(tenant)}"]
    for column, values in (
        ("tool", filters.tools),
        ("queue", filters.queues),
        ("correlation_id", filters.correlation_ids),
        ("parent_id", filters.parent_ids),
    ):
        if values:
            found.append(f"l.{column} = ANY({use(values)}::text[])")
    if filters.labels:
        found.append(f"l.labels @> {use(filters.labels)}::text[]")
    if filters.created_after is not None:
        found.append(f"l.created_at >= {use(filters.created_after)}")
    if filters.created_before is not None:
        found.append(f"l.created_at < {use(filters.created_before)}")
    if filters.states:
        found.append(_state_clause(set(filters.states), use))
    return found


def _state_clause(states: set[str], use: Any) -> str:
    """Ended jobs are found by their own index, live ones through the small tables of the queue."""
    ended, live = sorted(states & TERMINAL_STATES), sorted(states - TERMINAL_STATES)
    parts = []
    if ended:
        parts.append(
            f"EXISTS (SELECT FROM job_done d WHERE d.tenant = l.tenant AND d.state = ANY({use(ended)}::text[]) "
            "AND d.created_at = l.created_at AND d.job_id = l.job_id)"
        )
    if live:
        parts.append(
            "l.job_id IN (SELECT a.job_id FROM (SELECT job_id FROM ready UNION ALL SELECT job_id FROM lease "
            "UNION ALL SELECT job_id FROM timer UNION ALL SELECT job_id FROM blocked) a JOIN job j USING (job_id) "
            f"WHERE j.state = ANY({use(live)}::text[]))"
        )
    return f"({' OR '.join(parts)})"


def page_query(
    tenant: str, filters: Filters, *, after: tuple[datetime, str] | None, limit: int, also: Sequence[str] = ()
) -> tuple[str, list[Any]]:
    """Ids of one page, newest first, with one more than asked for. `also` are further clauses over `job_list l`."""
    parameters: list[Any] = []
    where = [*_where(tenant, filters, parameters), *also]
    if after is not None:
        parameters += after
        where.append(f"(l.created_at, l.job_id) < (${len(parameters) - 1}, ${len(parameters)})")
    parameters.append(limit + 1)
    sql = (
        f"SELECT l.job_id, l.created_at FROM job_list l WHERE {' AND '.join(where)} "
        f"ORDER BY l.created_at DESC, l.job_id DESC LIMIT ${len(parameters)}"
    )
    return sql, parameters


async def page(
    connection: Any,
    tenant: str,
    filters: Filters,
    *,
    after: tuple[datetime, str] | None,
    limit: int,
    also: Sequence[str] = (),
) -> tuple[list[Shown], tuple[datetime, str] | None]:
    """One page and where the next begins."""
    sql, parameters = page_query(tenant, filters, after=after, limit=limit, also=also)
    rows = await connection.fetch(sql, *parameters)
    more = len(rows) > limit
    rows = rows[:limit]
    found = await many(connection, [row["job_id"] for row in rows])
    shown = [found[row["job_id"]] for row in rows if row["job_id"] in found]
    return shown, (rows[-1]["created_at"], rows[-1]["job_id"]) if more else None


async def count(connection: Any, tenant: str, filters: Filters, *, also: Sequence[str] = ()) -> tuple[int, bool]:
    """How many, and whether counting stopped at the cap."""
    parameters: list[Any] = []
    where = [*_where(tenant, filters, parameters), *also]
    sql = f"SELECT count(*)::int FROM (SELECT FROM job_list l WHERE {' AND '.join(where)} LIMIT {COUNT_CAP + 1}) c"
    found = await connection.fetchval(sql, *parameters)
    return min(found, COUNT_CAP), found > COUNT_CAP


async def counts(connection: Any, tenant: str, filters: Filters) -> dict[str, int]:
    """Jobs by state."""
    parameters: list[Any] = []
    where = _where(tenant, filters, parameters)
    sql = (
        "SELECT j.state, count(*)::int AS n FROM job_list l JOIN job j USING (job_id) "
        f"WHERE {' AND '.join(where)} GROUP BY 1"
    )
    return {row["state"]: row["n"] for row in await connection.fetch(sql, *parameters)}


async def one(connection: Any, tenant: str, job_id: str) -> Shown | None:
    row = await connection.fetchrow(jobs.GET, job_id, tenant)
    return None if row is None else Shown(jobs.job_of(row), row["live"], row["epoch"])


async def many(connection: Any, job_ids: Sequence[str]) -> dict[str, Shown]:
    rows = await connection.fetch(jobs.GET_MANY, list(job_ids))
    return {row["job_id"]: Shown(jobs.job_of(row), row["live"], row["epoch"]) for row in rows}


async def result(connection: Any, job_id: str) -> Any:
    return await connection.fetchrow(RESULT, job_id)
