"""Why a job is where it is: what it waits for, said in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jobyard_common.contracts.jobs import JobState

from jobyard_executor.domain import work_queues
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.lane import Lane, flow_of, parse, runnable
from jobyard_executor.domain.limits import public_key
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.store import claiming, limits, queues, reading, tool_versions, workers
from jobyard_executor.store.workers import WorkerRow

MOST_HOLDERS = 5
MOST_AHEAD = 10_000


async def explain(connection: Any, job: Job, *, now: datetime | None = None) -> dict[str, object]:
    """`{state, reason, since, waiting_for: [{kind, detail, until}]}`, what stops the job for longest first."""
    waiting: list[dict[str, object]] = []
    if job.state is JobState.QUEUED:
        waiting = await _queued(connection, job, now or datetime.now(UTC))
    elif job.state is JobState.SCHEDULED:
        waiting = [_wait("time", "It waits for the time that it was submitted for.", until=job.run_at)]
    elif job.state is JobState.RETRY_WAIT:
        detail = f"Attempt {job.attempt} failed; the next one follows after a pause."
        waiting = [_wait("retry", detail, until=job.run_at)]
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


def _wait(kind: str, detail: str, *, until: datetime | None = None) -> dict[str, object]:
    return {"kind": kind, "detail": detail, "until": moment(until) if until is not None else None}


async def _queued(connection: Any, job: Job, now: datetime) -> list[dict[str, object]]:
    row = await connection.fetchrow(reading.READY, job.job_id)
    if row is None:
        return [_wait("claim", "A worker is taking it at this moment.")]
    text, lane = row["lane"], parse(row["lane"])
    found: list[dict[str, object]] = []
    if (queue := (await queues.all_queues(connection)).get(lane.queue)) is not None and queue.paused:
        found.append(_wait("queue_paused", f"The queue {lane.queue} is paused; its jobs start once it is resumed."))
    fate = await tool_versions.fate(connection, lane.tool, lane.version)
    found += workers_fault(lane, await workers.view(connection), fate=fate)
    found += await _limits(connection, job, lane, now)
    found += await _turn(connection, job, text, row["sort_at"])
    return found or [_wait("slot", "It waits for a free slot.")]


def workers_fault(lane: Lane, every: list[WorkerRow], *, fate: tuple[bool, datetime] | None) -> list[dict[str, object]]:
    """Why no worker can take a job of this lane, whatever else it waits for."""
    alive = [row for row in every if row.alive]
    if not alive:
        return [_wait("worker", "No worker is alive.")]
    key = (lane.tool, lane.version)
    able = [row for row in alive if f"{lane.tool}@{lane.version}" in row.tools]
    if not able:
        retired, seen = fate or (False, None)
        since = f", and none has offered it since {moment(seen)}" if seen is not None else ""
        retired_too = "; the version is retired" if retired else ""
        return [_wait("worker", f"No worker knows {lane.tool} in version {lane.version}{since}{retired_too}.")]
    able = [row for row in able if runnable(lane, tools=frozenset({key}), levels=frozenset(row.levels))]
    if not able:
        return [_wait("level", f"No worker has the sandbox level {lane.level}.")]
    able = [row for row in able if work_queues.parse(row.queues).serves(lane.queue)]
    if not able:
        return [_wait("queue", f"No worker that could run it works for the queue {lane.queue}.")]
    if all(row.drained_since is not None for row in able):
        names = ", ".join(row.instance for row in able[:MOST_HOLDERS])
        return [_wait("worker_draining", f"Every worker that could run it is draining: {names}.")]
    return []


async def _limits(connection: Any, job: Job, lane: Lane, now: datetime) -> list[dict[str, object]]:
    """Limits of other tenants' making are told without their jobs."""
    found = []
    for state in await claiming.room_now(connection, list(lane.limits())):
        name = public_key(state.key)
        if state.n is not None and state.used >= state.n:
            kind, _, rest = name.partition(":")
            held = await limits.holders(connection, job.tenant, kind=kind, name=rest, limit=MOST_HOLDERS)
            by = f", held by {', '.join(row['job_id'] for row in held)}" if held else ""
            run = f"{state.used} of {state.n} jobs under the limit {name} run already{by}."
            found.append(_wait("limit", run if state.n else f"The limit {name} is 0: nothing starts under it{by}."))
        if state.starts is not None and state.starts <= 0:
            until = now + timedelta(seconds=state.wait_s or 0.0)
            found.append(_wait("rate", f"The rate of {name} is used up for the moment.", until=until))
    return found


async def _turn(connection: Any, job: Job, lane: str, sort_at: datetime) -> list[dict[str, object]]:
    """Its place among its own kind, and who else has turns in the same queue."""
    found = []
    ahead = await connection.fetchval(reading.AHEAD, lane, sort_at, job.job_id)
    if ahead:
        many = "at least " if ahead >= MOST_AHEAD else ""
        jobs = "1 job of the same kind comes" if ahead == 1 else f"{ahead:,} jobs of the same kind come"
        found.append(_wait("turn", f"{many}{jobs} first."))
    flows = {row.flow for row in await claiming.lanes(connection, queues=[parse(lane).queue], lanes=1)}
    others = len(flows - {flow_of(lane)})
    if others:
        many = "at least " if len(flows) >= claiming.MAX_FLOWS else ""
        keys = "1 other fairness key" if others == 1 else f"{others} other fairness keys"
        found.append(_wait("fairness", f"It shares the queue's turns with {many}{keys}."))
    return found
