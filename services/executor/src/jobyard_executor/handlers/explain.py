"""Why a job is where it is: what it waits for, said in words."""

from __future__ import annotations

from typing import Any

from jobyard_common.contracts.jobs import JobState

from jobyard_executor.domain.job import Job
from jobyard_executor.domain.lane import Lane, parse, runnable
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.store import claiming, reading, sessions


async def explain(connection: Any, job: Job) -> dict[str, object]:
    """`{state, reason, since, waiting_for: [{kind, detail, until}]}`."""
    waiting: list[dict[str, object]] = []
    if job.state is JobState.QUEUED:
        waiting = await _queued(connection, job)
    elif job.state is JobState.SCHEDULED:
        waiting = [_wait("time", "It waits for the time that it was submitted for.", until=job)]
    elif job.state is JobState.RETRY_WAIT:
        waiting = [_wait("retry", f"Attempt {job.attempt} failed; the next one follows after a pause.", until=job)]
    elif job.state is JobState.BLOCKED:
        rows = await connection.fetch(reading.OPEN_PARENTS, job.job_id)
        waiting = [_wait("dependency", f"{row[0]} is {row[1] or 'not known yet'}.") for row in rows]
    elif job.state is JobState.RUNNING:
        waiting = [_wait("tool", f"Attempt {job.attempt} runs on {job.worker}.")]
    elif job.state is JobState.CANCELLING:
        waiting = [_wait("cancel", f"The tool on {job.worker} is being stopped.")]
    moments = (job.finished_at, job.started_at, job.queued_at, job.created_at)
    since = next(value for value in moments if value is not None)
    if job.state is JobState.QUEUED and job.queued_at is not None:
        since = job.queued_at
    return {"state": job.state.value, "reason": job.reason, "since": moment(since), "waiting_for": waiting}


def _wait(kind: str, detail: str, *, until: Job | None = None) -> dict[str, object]:
    moment_text = moment(until.run_at) if until is not None and until.run_at is not None else None
    return {"kind": kind, "detail": detail, "until": moment_text}


async def _queued(connection: Any, job: Job) -> list[dict[str, object]]:
    row = await connection.fetchrow(reading.READY, job.job_id)
    if row is None:
        return [_wait("claim", "A worker is taking it at this moment.")]
    lane = parse(row["lane"])
    found = await _workers(connection, lane)
    if lane.queue in await claiming.paused_queues(connection):
        found.append(_wait("queue_paused", f"The queue {lane.queue} is paused."))
    found += await _limits(connection, lane)
    ahead = await connection.fetchval(reading.AHEAD, row["lane"], row["sort_at"], job.job_id)
    if ahead:
        found.append(_wait("turn", f"{ahead} jobs of the same kind come first."))
    return found or [_wait("slot", "It waits for a free slot.")]


async def _workers(connection: Any, lane: Lane) -> list[dict[str, object]]:
    alive = [row for row in await connection.fetch(sessions.VIEW) if row["alive"]]
    if not alive:
        return [_wait("worker", "No worker is alive.")]
    key = (lane.tool, lane.version)
    knowing = [row for row in alive if f"{lane.tool}@{lane.version}" in row["tools"]]
    if not knowing:
        return [_wait("worker", f"No worker knows {lane.tool} in version {lane.version}.")]
    if not any(runnable(lane, tools=frozenset({key}), levels=frozenset(row["levels"])) for row in knowing):
        return [_wait("level", f"No worker has the sandbox level {lane.level}.")]
    return []


async def _limits(connection: Any, lane: Lane) -> list[dict[str, object]]:
    keys = list(lane.limits())
    allowed = {row["key"]: row["n"] for row in await connection.fetch(claiming.READ_LIMITS, keys)}
    used = {row["key"]: row["used"] for row in await connection.fetch(claiming.USED, keys)}
    return [
        _wait("limit", f"{used.get(key, 0)} of {n} jobs under the limit {key} run already.")
        for key, n in allowed.items()
        if used.get(key, 0) >= n
    ]
