"""Reads for people and services: one job, lists, counts, history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import JobState

from jobyard_executor.domain.job import Job
from jobyard_executor.store import jobs, listing
from jobyard_executor.store.listing import Filters, Position, Source

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


class Shown(msgspec.Struct):
    """A job with its newest progress."""

    job: Job
    live: str | None
    epoch: int


async def page(
    connection: Any, tenant: str, filters: Filters, *, after: Position | None, limit: int
) -> tuple[list[Shown], Position | None]:
    """One page and where the next begins."""
    rows = await places(connection, tenant, filters, after=after, limit=limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    found = await many(connection, [job_id for _, job_id in rows])
    return [found[job_id] for _, job_id in rows if job_id in found], rows[-1] if more else None


async def places(
    connection: Any, tenant: str, filters: Filters, *, after: Position | None, limit: int
) -> list[Position]:
    """The places in the list of the `limit` newest jobs behind `after`."""
    source = await source_of(connection, tenant, filters, after=after)
    sql, parameters = listing.page_query(tenant, filters, source, after=after, limit=limit)
    return [(row["created_at"], row["job_id"]) for row in await connection.fetch(sql, *parameters)]


async def source_of(connection: Any, tenant: str, filters: Filters, *, after: Position | None = None) -> Source:
    """The way through the jobs on which the fewest are looked at in vain."""
    found = listing.related(filters)
    if found is not None:
        return found
    sources = listing.by_labels(filters)
    if filters.tools or filters.queues:
        tools = sorted(set(filters.tools))
        kinds = (listing.KINDS_OF_TOOLS, tenant, tools) if tools else (listing.KINDS, tenant)
        rows = await connection.fetch(*kinds)
        pairs = [(row[0], row[1]) for row in rows if not filters.queues or row[1] in filters.queues]
        if len(pairs) <= listing.MOST_KINDS and len(rows) < listing.KNOWN_KINDS:
            sources.append(listing.by_kind(pairs))
    if filters.states:
        live = [state for state in filters.states if state in listing.LIVE_IN]
        few = bool(not live or await connection.fetchval(listing.live_query(live), tenant))
        by_state = listing.by_state(filters.states, live_few=few)
        sources += [by_state] if by_state is not None else []
    if len(sources) < 2:
        return sources[0] if sources else listing.NEWEST
    ranks = []
    for place, source in enumerate(sources):
        sql, parameters = listing.probe_query(tenant, source, after=after)
        number, oldest = await connection.fetchrow(sql, *parameters)
        ranks.append((number, oldest, place))
        if number == 0:
            break
    return sources[min(ranks)[-1]]


async def count(connection: Any, tenant: str, filters: Filters) -> tuple[int, bool]:
    """How many, and whether counting stopped at the cap."""
    source = await source_of(connection, tenant, filters)
    sql, parameters = listing.count_query(tenant, filters, source, most=COUNT_CAP + 1)
    found = (await connection.fetchrow(sql, *parameters))[0]
    return min(found, COUNT_CAP), found > COUNT_CAP


async def counts(connection: Any, tenant: str, filters: Filters) -> tuple[dict[str, int], list[str]]:
    """Jobs by state, each counted up to the cap, and the states that have more."""
    found: dict[str, int] = {}
    capped = []
    for state in filters.states or [state.value for state in JobState]:
        one = msgspec.structs.replace(filters, states=[state])
        found[state], more = await count(connection, tenant, one)
        capped += [state] if more else []
    return found, capped


async def one(connection: Any, tenant: str, job_id: str) -> Shown | None:
    row = await connection.fetchrow(jobs.GET, job_id, tenant)
    return None if row is None else Shown(jobs.job_of(row), row["live"], row["epoch"])


async def many(connection: Any, job_ids: Sequence[str]) -> dict[str, Shown]:
    rows = await connection.fetch(jobs.GET_MANY, list(job_ids))
    return {row["job_id"]: Shown(jobs.job_of(row), row["live"], row["epoch"]) for row in rows}


async def result(connection: Any, job_id: str) -> Any:
    return await connection.fetchrow(RESULT, job_id)
