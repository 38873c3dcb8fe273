"""Attempts end: results are stored under the fence that is current, and jobs go where `next_state` says.

A whole batch is one transaction. If one result of it cannot be stored, the batch is halved until that job stands
alone; it fails with `result_unstorable` and its neighbours are not delayed by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from datetime import datetime, timedelta

import asyncpg
import msgspec
from jobyard_common.contracts.jobs import TERMINAL, JobError, JobState
from jobyard_common.db.connection import Connection
from jobyard_common.db.errors import is_poison
from jobyard_common.runtime.breath import in_breaths
from jobyard_common.runtime.crash import crash
from jobyard_common.telemetry import metrics

from jobyard_executor.domain.assignment import Failure, Outcome, Verdict
from jobyard_executor.domain.child import MAX_CHILDREN
from jobyard_executor.domain.job import Cause, Job, Step, next_state
from jobyard_executor.domain.ownership import owns
from jobyard_executor.domain.retry import pause_before_next
from jobyard_executor.handlers.answer_from_cache import Kept
from jobyard_executor.handlers.bear_children import bear_children
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.claim import Held
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.store import jobs
from jobyard_executor.store.write import Write

_encode = msgspec.json.Encoder().encode
_CAUSES = {
    Verdict.SUCCEEDED: Cause.SUCCEEDED,
    Verdict.ERROR: Cause.ERROR,
    Verdict.TIMEOUT: Cause.TIMEOUT,
    Verdict.CANCELLED: Cause.INTERRUPTED,
    Verdict.OOM: Cause.OOM,
    Verdict.RESOURCE_EXHAUSTED: Cause.RESOURCE_EXHAUSTED,
    Verdict.INTERRUPTED: Cause.INTERRUPTED,
    Verdict.WORKER_LOST: Cause.WORKER_LOST,
}
_MESSAGES = {
    Verdict.ERROR: "The tool failed without saying why.",
    Verdict.TIMEOUT: "The tool ran longer than its limit.",
    Verdict.CANCELLED: "The run was cancelled.",
    Verdict.OOM: "The tool needed more memory than it may have.",
    Verdict.RESOURCE_EXHAUSTED: "The tool needed more than it may have.",
    Verdict.INTERRUPTED: "The worker stopped before the tool had finished.",
    Verdict.WORKER_LOST: "The worker was lost while the tool ran.",
}


class Ended(msgspec.Struct):
    """An attempt of ours and how it ended."""

    held: Held
    outcome: Outcome


async def finish(engine: Engine, pool: asyncpg.Pool, batch: Sequence[Ended]) -> None:
    """Store the ends of attempts. Those that are no longer ours are dropped and counted."""
    crash("K9")
    if len(batch) > 1 and sum(len(ended.outcome.children) for ended in batch) > MAX_CHILDREN:
        # Many births make neighbours wait: such attempts finish in transactions of their own.
        await _halves(engine, pool, batch)
        return
    try:
        async with pool.acquire() as connection:
            async with connection.transaction():
                stored, ready = await _store(engine, connection, batch)
                crash("K10")
            crash("K11")
    except asyncpg.PostgresError as error:
        if not is_poison(error):
            raise
        if len(batch) == 1:
            await finish(engine, pool, [_unstorable(batch[0], error)])
            return
        await _halves(engine, pool, batch)
        return
    if ready:
        engine.wake_claim()
    engine.wake_relay()
    _close(batch, stored)


async def _halves(engine: Engine, pool: asyncpg.Pool, batch: Sequence[Ended]) -> None:
    middle = len(batch) // 2
    await finish(engine, pool, batch[:middle])
    await finish(engine, pool, batch[middle:])


def _unstorable(ended: Ended, error: BaseException) -> Ended:
    failure = Failure("result_unstorable", f"The result cannot be stored: {error}"[:500], None, None, False)
    old = ended.outcome
    outcome = Outcome(
        job_id=old.job_id, attempt=old.attempt, fence=old.fence, verdict=Verdict.ERROR, started_at=old.started_at,
        finished_at=old.finished_at, run_ms=old.run_ms, failure=failure, last_seq=old.last_seq,
    )  # fmt: skip
    ended.held.progress = None
    return Ended(ended.held, outcome)


async def _store(engine: Engine, connection: Connection, batch: Sequence[Ended]) -> tuple[set[str], bool]:
    # Copies: a transaction that fails is repeated from what we held before it.
    locked = await jobs.lock_held(connection, {ended.outcome.job_id: copy(ended.held.job) for ended in batch})
    write = engine.write(locked.epoch)
    kept = Kept()
    now = engine.clock.now()
    stored = set()
    ready = False
    async for some in in_breaths(batch):
        for ended in some:
            job = locked.jobs.get(ended.outcome.job_id)
            if job is None or not owns(job, fence=ended.held.assignment.fence, session=ended.held.job.session):
                metrics.STALE_WRITES.inc()
                continue
            _end(engine, write, job, ended, now=now)
            kept.add(job, ended.held.spec, now=now)
            stored.add(job.job_id)
            ready = ready or job.state is JobState.QUEUED
    await write.flush(connection)
    await kept.store(connection)
    ready = await resolve_children(engine, connection, write.terminal) or ready
    outcomes = [ended.outcome for ended in batch if ended.outcome.children and ended.outcome.job_id in stored]
    families = [(locked.jobs[outcome.job_id], outcome) for outcome in outcomes]
    if families:
        await bear_children(engine, connection, [one for one in families if one[0].state is JobState.SUCCEEDED])
        ready = True
    return stored, ready


def _end(engine: Engine, write: Write, job: Job, ended: Ended, *, now: datetime) -> None:
    held, outcome, spec = ended.held, ended.outcome, ended.held.spec
    now = max(now, job.started_at or now)
    failure = _failure(outcome)
    pause = _pause(engine, job, ended, now=now) if failure else None
    past_deadline = spec.deadline_at is not None and now >= spec.deadline_at
    step = next_state(job, _CAUSES[outcome.verdict], pause=pause, past_deadline=past_deadline)
    assert isinstance(step, Step)
    if held.progress is not None:
        job.progress = held.progress
    job.output_seq = max(job.output_seq, outcome.last_seq, held.last_seq)
    job.error = _error(failure, job, step)
    worker = job.worker or engine.instance
    write.add(
        "attempts", job.job_id, job.attempt, job.fence, worker, outcome.verdict.value, job.started_at, now,
        outcome.run_ms, outcome.return_code, _error_text(failure, job) if failure else None,
    )  # fmt: skip
    terminal = step.state in TERMINAL
    succeeded = step.state is JobState.SUCCEEDED
    if terminal:
        value = bytes(outcome.value).decode() if succeeded else None
        files = _encode(outcome.files if succeeded else ()).decode()
        write.add(
            "results", job.job_id, job.attempt, value, outcome.return_code, outcome.stdout, outcome.stderr,
            outcome.truncated, files, outcome.run_ms,
        )  # fmt: skip
    outputs = tuple(file.file_id for file in outcome.files) if succeeded else ()
    move(write, job, step, now=now, actor=engine.worker_actor, spec=spec, outputs=outputs)


def _pause(engine: Engine, job: Job, ended: Ended, *, now: datetime) -> timedelta | None:
    outcome = ended.outcome
    return pause_before_next(
        ended.held.spec.retry,
        failures=job.failures + 1,
        code=outcome.failure.code if outcome.failure else outcome.verdict.value,
        retryable=outcome.failure.retryable if outcome.failure else True,
        first_queued_at=job.created_at,
        now=now,
        dice=engine.dice,
        asked_s=outcome.failure.retry_after_s if outcome.failure else None,
    )


def _failure(outcome: Outcome) -> Failure | None:
    if outcome.verdict is Verdict.SUCCEEDED:
        return None
    return outcome.failure or Failure(outcome.verdict.value, _MESSAGES[outcome.verdict])


def _error(failure: Failure | None, job: Job, step: Step) -> str | None:
    if failure is None or step.state in (JobState.CANCELLED, JobState.SUCCEEDED):
        return None
    return _error_text(failure, job)


def _error_text(failure: Failure, job: Job) -> str:
    error = JobError(failure.code, failure.message, failure.type, failure.detail, failure.retryable, job.attempt)
    return _encode(error).decode()


def _close(batch: Sequence[Ended], stored: set[str]) -> None:
    """End the spans of the attempts, and count."""
    counts: Counter[tuple[str, str]] = Counter()
    tools = {ended.held.spec.tool for ended in batch if ended.outcome.job_id in stored}
    times = {tool: metrics.JOB_RUN.labels(tool=tool) for tool in tools}
    for ended in batch:
        outcome, tool = ended.outcome, ended.held.spec.tool
        if outcome.verdict is not Verdict.SUCCEEDED:
            ended.held.span.error(outcome.failure.code if outcome.failure else outcome.verdict.value)
        ended.held.span.set("job.verdict", outcome.verdict.value)
        ended.held.span.end()
        if outcome.job_id in stored:
            counts[tool, outcome.verdict.value] += 1
            times[tool].observe(outcome.run_ms / 1000)
    for (tool, verdict), count in counts.items():
        metrics.JOBS_FINISHED.labels(tool=tool, outcome=verdict).inc(count)
