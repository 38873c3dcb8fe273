"""Time has come: scheduled jobs and pauses end, waiting jobs outlive their welcome, deadlines pass."""

from __future__ import annotations

import asyncpg
import msgspec
from jobyard_common.contracts.jobs import TERMINAL, JobError, JobState
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import ACTIVE, Cause, Job, Step, next_state
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import SYSTEM, Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.store import jobs, timers
from jobyard_executor.store.write import Write

LIMIT = 1000
_CAUSES = {"start": Cause.START_DUE, "ttl": Cause.TTL_PASSED, "deadline": Cause.DEADLINE_PASSED}


async def fire_timers(engine: Engine, pool: asyncpg.Pool) -> int:
    """Fire what is due, at most a batch; returns how many timers that were.

    Timers are read without a lock and jobs locked first, as everywhere; a job that somebody else holds keeps its
    timer for the next round.
    """
    now = engine.clock.now()
    stops: list[tuple[str, int]] = []
    async with pool.acquire() as connection:
        due = await timers.due(connection, now=now, limit=LIMIT)
        if not due:
            return 0
        async with connection.transaction():
            locked = await jobs.lock_free(connection, [job_id for job_id, _, _ in due])
            write = engine.write(locked.epoch)
            moved: set[str] = set()
            fired = []
            for timer in due:
                job = locked.jobs.get(timer[0])
                if job is None or job.job_id in moved:
                    continue
                fired.append(timer)
                if _fire(engine, write, job, _CAUSES[timer[1]], stops):
                    moved.add(job.job_id)
            fired += await _lost(connection, [timer for timer in due if timer[0] not in locked.jobs])
            await timers.done(connection, fired)
            await write.flush(connection)
            await resolve_children(engine, connection, write.terminal)
    for job_id, fence in stops:
        engine.stop_running(job_id, fence)
    engine.wake_claim()
    engine.wake_relay()
    return len(fired)


async def _lost(connection: Connection, unlocked: list[timers.Due]) -> list[timers.Due]:
    """Timers of jobs that do not exist any more."""
    if not unlocked:
        return []
    known = {row[0] for row in await connection.fetch("SELECT job_id FROM job WHERE job_id = ANY($1::text[])",
                                                      [timer[0] for timer in unlocked])}  # fmt: skip
    return [timer for timer in unlocked if timer[0] not in known]


def _fire(engine: Engine, write: Write, job: Job, cause: Cause, stops: list[tuple[str, int]]) -> bool:
    step = next_state(job, cause)
    if not isinstance(step, Step):
        return False
    now = engine.clock.now()
    if job.state in ACTIVE:
        stops.append((job.job_id, job.fence))
        started = job.started_at or now
        run_ms = int((now - started).total_seconds() * 1000)
        error = JobError("deadline", "The job's deadline passed while it ran.", None, None, False, job.attempt)
        text = msgspec.json.encode(error).decode()
        write.add(
            "attempts", job.job_id, job.attempt, job.fence, job.worker or "", "deadline", started, now, run_ms, None,
            text,
        )  # fmt: skip
        if step.state in TERMINAL:
            write.add("results", job.job_id, job.attempt, None, None, "", "", False, "[]", run_ms)
            job.error = text
    move(write, job, step, now=now, actor=SYSTEM)
    return job.state is not JobState.RUNNING
