"""Times of jobs: when they start, how long they may wait, when they must have ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Backoff, RescheduleJob, Retry
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.handlers.fire_timers import fire_timers
from jobyard_executor.store import reading
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]


def waits(_assignment: Assignment) -> None:
    return None


def test_failures_are_repeated_after_their_pause(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        def flaky(assignment: Assignment) -> Outcome:
            if assignment.attempt < 3:
                return ended(assignment, Verdict.ERROR, failure=Failure("luck", f"no luck {assignment.attempt}"))
            return ended(assignment, value=b"3")

        await bench.work(ScriptedRunner(flaky))
        retry = Retry(max_attempts=3, backoff=Backoff.FIXED, base_s=600, jitter=0)
        submit = bench.submit(retry=retry)
        await bench.apply(submit)
        for _ in range(2):
            await bench.until(submit.job_id, "retry_wait")
            assert await fire_timers(bench.engine, bench.pool) == 0
            bench.clock.ahead += timedelta(seconds=601)
            assert await fire_timers(bench.engine, bench.pool) == 1
        job = await bench.until(submit.job_id, "succeeded")
        assert (job.attempt, job.error) == (3, None)
        rows = await bench.pool.fetch(reading.ATTEMPTS, submit.job_id)
        assert [row["attempt"] for row in rows] == [1, 2, 3]
        assert msgspec.json.decode(rows[1]["error"])["message"] == "no luck 2"
        assert await bench.count("timer") == 0

    play(scenario)


def test_scheduled_jobs_start_in_time_and_can_be_moved(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner())
        submit = bench.submit(run_at=bench.clock.now() + timedelta(hours=1))
        await bench.apply(submit)
        assert (await bench.job(submit.job_id)).state == "scheduled"
        later = bench.clock.now() + timedelta(hours=3)
        await bench.apply(RescheduleJob(new_id("cmd"), submit.job_id, submit.tenant, submit.actor, later))
        bench.clock.ahead = timedelta(hours=2)
        assert await fire_timers(bench.engine, bench.pool) == 0
        bench.clock.ahead = timedelta(hours=4)
        assert await fire_timers(bench.engine, bench.pool) == 1
        await bench.until(submit.job_id, "succeeded")
        assert await bench.states(submit.job_id) == ["scheduled", "scheduled", "queued", "running", "succeeded"]

    play(scenario)


def test_time_to_live_and_deadline(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        waiting = bench.submit(ttl_s=5.0)
        deadline = bench.submit(deadline_at=bench.clock.now() + timedelta(seconds=30), tool="test.noop.process")
        late = bench.submit(deadline_at=bench.clock.now() - timedelta(seconds=1))
        await bench.apply(waiting, deadline, late)
        assert ((await bench.job(late.job_id)).state, (await bench.job(late.job_id)).reason) == ("expired", "deadline")
        bench.clock.ahead = timedelta(seconds=6)
        await fire_timers(bench.engine, bench.pool)
        job = await bench.job(waiting.job_id)
        assert (job.state, job.reason, job.attempt, job.started_at) == ("expired", "ttl", 0, None)
        bench.clock.ahead = timedelta(seconds=31)
        await fire_timers(bench.engine, bench.pool)
        assert (await bench.job(deadline.job_id)).reason == "deadline"
        assert (await bench.count("ready"), await bench.count("timer")) == (0, 0)

    play(scenario)


def test_a_deadline_ends_what_runs(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        await bench.work(runner)
        submit = bench.submit(deadline_at=bench.clock.now() + timedelta(seconds=10))
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        bench.clock.ahead = timedelta(seconds=11)
        await fire_timers(bench.engine, bench.pool)
        job = await bench.until(submit.job_id, "expired")
        assert job.reason == "deadline"
        assert runner.stopped
        assert await bench.count("lease") == 0

    play(scenario)
