"""Attempts whose worker is gone: ended for it, and their jobs sent where `next_state` says."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg
import msgspec
from jobyard_common.contracts.jobs import TERMINAL, JobError, JobState
from jobyard_common.db.connection import Connection
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.job import Cause, Job, Step, next_state
from jobyard_executor.domain.ownership import owns
from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import SYSTEM, Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.store import jobs, sessions
from jobyard_executor.store.write import Write

log = get_logger("reaper")
BATCH = 500
_MESSAGES = {
    Cause.WORKER_LOST: "The worker that ran this attempt was lost.",
    Cause.INTERRUPTED: "The worker that ran this attempt stopped before it had finished.",
}


async def reap_session(engine: Engine, pool: asyncpg.Pool, seen: sessions.Seen, *, cause: Cause) -> int:
    """End a dead session and give back what it held; returns how many jobs that were."""
    count = 0
    async with pool.acquire() as connection:
        async with connection.transaction():
            if not await sessions.seize(connection, seen.session, beat=seen.beat):
                return 0
        while True:
            async with connection.transaction():
                held = await sessions.leases_of(connection, seen.session, limit=BATCH)
                given = await give_back(engine, connection, held, session=seen.session, cause=cause)
            count += given
            if not held or not given:
                break
    log.warning("session.reaped", worker=seen.identity.instance, session=seen.session, jobs=count, cause=cause.value)
    engine.wake_claim()
    engine.wake_relay()
    return count


async def reap_orphans(engine: Engine, pool: asyncpg.Pool, *, terms: LeaseTerms) -> int:
    """Leases that belong to no living session: the net under everything else."""
    async with pool.acquire() as connection, connection.transaction():
        found = await sessions.orphans(connection, older_than=terms.ttl, limit=BATCH)
        count = await give_back(engine, connection, found, session=None, cause=Cause.WORKER_LOST)
    if count:
        engine.wake_claim()
        engine.wake_relay()
    return count


async def give_back(
    engine: Engine,
    connection: Connection,
    job_ids: Iterable[str],
    *,
    session: str | None,
    cause: Cause,
    fences: dict[str, int] | None = None,
) -> int:
    """End the attempts of these jobs, if they still are those of `session` (and of these fences)."""
    wanted = list(job_ids)
    if not wanted:
        return 0
    locked = await jobs.lock(connection, wanted)
    write = engine.write(locked.epoch)
    count = 0
    for job in locked.jobs.values():
        if not owns(job, fence=None if fences is None else fences[job.job_id], session=session):
            continue
        _end(engine, write, job, cause)
        count += 1
    await write.flush(connection)
    await resolve_children(engine, connection, write.terminal)
    return count


def _end(engine: Engine, write: Write, job: Job, cause: Cause) -> None:
    now = max(engine.clock.now(), job.started_at or engine.clock.now())
    step = next_state(job, cause)
    assert isinstance(step, Step)
    error = JobError(cause.value, _MESSAGES[cause], None, None, True, job.attempt)
    text = msgspec.json.encode(error).decode()
    started = job.started_at or now
    run_ms = int((now - started).total_seconds() * 1000)
    write.add(
        "attempts", job.job_id, job.attempt, job.fence, job.worker or "", cause.value, started, now, run_ms, None, text
    )
    if step.state in TERMINAL:
        write.add("results", job.job_id, job.attempt, None, None, "", "", False, "[]", run_ms)
    if step.state is JobState.FAILED:
        job.error = text
    move(write, job, step, now=now, actor=SYSTEM)
