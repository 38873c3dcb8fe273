"""The net under every run: ends that nobody passed on, runs that nobody goes on with, and old ones to forget."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
from jobyard_common.contracts.jobs import JobState

from jobyard_executor.domain.workflow import RUN_ENDED, StepState, state_of_job
from jobyard_executor.handlers.advance_runs import PAGE, Advance, End, plan_of
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import runs

OLDER_THAN = timedelta(seconds=60)
LIMIT = 500
FORGET_LIMIT = 100


async def sweep_runs(engine: Engine, pool: asyncpg.Pool) -> int:
    """Take in ends that were missed, put old runs on the list again; returns how many ends there were.

    A job that is gone has failed: its history was dropped while the run still counted on it.
    """
    before = engine.clock.now() - OLDER_THAN
    async with pool.acquire() as connection:
        await connection.execute(runs.OPEN, before, LIMIT)
        found: dict[str, list[End]] = {}
        for row in await connection.fetch(runs.STUCK, before, LIMIT):
            state = StepState.FAILED if row["state"] is None else state_of_job(JobState(row["state"]))
            reason = "worker_lost" if row["state"] is None else row["reason"]
            found.setdefault(row["run_id"], []).append(End(row["no"], row["n"], row["job_id"], state, reason))
        for run_id, ends in found.items():
            async with connection.transaction():
                run = (await runs.lock(connection, [run_id])).get(run_id)
                if run is None or run.state in RUN_ENDED:
                    continue
                advance = Advance(engine, connection, run, *await plan_of(engine, connection, run_id))
                await advance.record(ends)
                await advance.close(room=PAGE)
    if found:
        engine.wake_claim()
        engine.wake_relay()
    engine.wake_runs()
    return sum(len(ends) for ends in found.values())


async def forget_runs(engine: Engine, pool: asyncpg.Pool, *, retention: timedelta) -> int:
    """Delete runs that ended longer ago than `retention`, a batch at a time; returns how many."""
    before, count = engine.clock.now() - retention, 0
    async with pool.acquire() as connection:
        while old := [row[0] for row in await connection.fetch(runs.OLD, before, FORGET_LIMIT)]:
            async with connection.transaction():
                for statement in runs.FORGET:
                    await connection.execute(statement, old)
            count += len(old)
    return count
