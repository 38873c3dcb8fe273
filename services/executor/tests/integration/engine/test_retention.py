"""Partitions ahead and gone, and kinds of jobs that go sooner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.jobs import Retry
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.domain.retention import Retention
from jobyard_executor.handlers.prune import keep_partitions, prune
from jobyard_executor.handlers.prune_kinds import prune_kinds
from jobyard_executor.store import partitions
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]
DAY = timedelta(days=1)
MONTH = Retention(30 * DAY)
WEEKS = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'job'::regclass"


def some_fail(assignment: Assignment) -> Outcome:
    if assignment.tool == "test.noop":
        return ended(assignment, value=b"1")
    return ended(assignment, Verdict.ERROR, failure=Failure("x", "y", retryable=False))


async def weeks(bench: Any) -> list[str]:
    return sorted(row[0] for row in await bench.pool.fetch(WEEKS) if row[0].startswith("job_w"))


async def left(bench: Any, job_id: str) -> set[str]:
    found = set()
    for table in partitions.TABLES:
        if await bench.pool.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE job_id = $1)", job_id):
            found.add(table)
    return found


def test_partitions_are_made_ahead_and_dropped_when_they_are_old(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        before = await weeks(bench)
        assert len(before) == 4
        assert await keep_partitions(bench.engine, bench.pool) == 0
        bench.clock.ahead = 70 * DAY
        assert await keep_partitions(bench.engine, bench.pool) == 4
        await prune(bench.engine, bench.pool, retention=30 * DAY)
        kept = await weeks(bench)
        assert not set(before) & set(kept)
        submit = bench.submit(job_id=new_id("job", now_ms=int(bench.clock.now().timestamp() * 1000)))
        await bench.apply(submit)
        place = await bench.pool.fetchval("SELECT tableoid::regclass::text FROM job WHERE job_id = $1", submit.job_id)
        assert place in kept

    play(scenario)


def test_a_week_with_an_unfinished_job_stays(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit(run_at=bench.clock.now() + 400 * DAY)
        await bench.apply(submit)
        bench.clock.ahead = 70 * DAY
        await prune(bench.engine, bench.pool, retention=30 * DAY)
        assert (await bench.job(submit.job_id)).state == "scheduled"

    play(scenario)


@pytest.mark.parametrize("keyed", [False, True])
def test_kinds_go_after_their_own_time_and_others_stay(play: Play, keyed: bool) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(some_fail))

        def job_id(key: str) -> str:
            if not keyed:
                return new_id("job")
            return keyed_id("job", b"secret" * 8, tenant="tnt_test", operation="submit", key=key)

        once = Retry(max_attempts=1)
        fine = bench.submit(job_id=job_id("fine"), keyed=keyed)
        bad = bench.submit(job_id=job_id("bad"), keyed=keyed, tool="test.noop.process", isolation="process", retry=once)
        late = bench.submit(job_id=job_id("late"), keyed=keyed, run_at=bench.clock.now() + 100 * DAY)
        await bench.apply(fine, bad, late)
        await bench.until(fine.job_id, "succeeded")
        await bench.until(bad.job_id, "failed")
        rules = Retention(30 * DAY, {"succeeded": 12 * DAY, "failed": 29 * DAY}, {"test.noop.process": 20 * DAY})
        bench.clock.ahead = 11 * DAY
        assert await prune_kinds(bench.engine, bench.pool, retention=rules) == 0
        bench.clock.ahead = 13 * DAY
        assert await prune_kinds(bench.engine, bench.pool, retention=rules) == 1
        assert (await left(bench, fine.job_id), "job" in await left(bench, bad.job_id)) == (set(), True)
        bench.clock.ahead = 21 * DAY
        assert await prune_kinds(bench.engine, bench.pool, retention=rules) == 1
        assert await left(bench, bad.job_id) == set()
        assert "job" in await left(bench, late.job_id)
        assert await prune_kinds(bench.engine, bench.pool, retention=rules) == 0

    play(scenario)


def test_without_rules_nothing_is_looked_at(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        assert MONTH.rules() == []
        assert await prune_kinds(bench.engine, bench.pool, retention=MONTH) == 0
        assert await bench.count("prune_cursor") == 0

    play(scenario)


def test_no_time_is_shorter_than_commands_may_come_again() -> None:
    with pytest.raises(ValueError, match="10 days"):
        Retention(30 * DAY, {"succeeded": 9 * DAY})
