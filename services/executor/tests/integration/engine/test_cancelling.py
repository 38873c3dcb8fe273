"""A cancel in every state of a job's life: what becomes of the job, of the command, and of what the job held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from jobyard_common.contracts.jobs import Backoff, Dedupe, Retry
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, StopReason, Verdict
from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.ingest import Ingest
from jobyard_executor.outbound.hints import Hints
from jobyard_executor.store import reading
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]
Arrange = Callable[[Any], Awaitable[Any]]
SLOW_BEAT = LeaseTerms(beat=timedelta(seconds=60), ttl=timedelta(seconds=180), trust=timedelta(seconds=120))
"""So slow that whatever is fast was not the beat."""
ENDS = {("succeeded", "job_finished", "1"), ("cancelled", "applied", None)}
"""State, outcome of the cancel, value: it came too late, or it won."""
HELD = ("ready", "lease", "timer", "blocked", "dedupe")


class Deaf(ScriptedRunner):
    """Hears every stop, and leaves it to the test when the tool ends."""

    def stop_job(self, job_id: str, fence: int, *, reason: StopReason) -> None:
        self.stopped.append((job_id, fence, reason))


def waits(_assignment: Assignment) -> None:
    return None


def fails(assignment: Assignment) -> Outcome:
    return ended(assignment, Verdict.ERROR, failure=Failure("luck", "no luck"))


async def scheduled(bench: Any) -> Any:
    return bench.submit(run_at=bench.clock.now() + timedelta(days=1), dedupe=Dedupe("k"))


async def blocked(bench: Any) -> Any:
    parent = bench.submit(run_at=bench.clock.now() + timedelta(days=1))
    await bench.apply(parent)
    return bench.submit(depends_on=(parent.job_id,), deadline_at=bench.clock.now() + timedelta(days=1))


async def queued(bench: Any) -> Any:
    return bench.submit(ttl_s=3600.0, dedupe=Dedupe("k"))


async def running(bench: Any) -> Any:
    await bench.work(Deaf(waits))
    return bench.submit()


async def retry_wait(bench: Any) -> Any:
    await bench.work(ScriptedRunner(fails))
    return bench.submit(retry=Retry(max_attempts=3, backoff=Backoff.FIXED, base_s=600.0, jitter=0.0))


async def succeeded(bench: Any) -> Any:
    await bench.work(ScriptedRunner())
    return bench.submit()


async def failed(bench: Any) -> Any:
    await bench.work(ScriptedRunner(fails))
    return bench.submit(retry=Retry(max_attempts=1))


async def expired(bench: Any) -> Any:
    return bench.submit(deadline_at=bench.clock.now() - timedelta(seconds=1))


async def outcome_of(bench: Any, command: Any) -> str:
    found = await bench.pool.fetchval("SELECT outcome FROM command_seen WHERE command_id = $1", command.command_id)
    return str(found)


@pytest.mark.parametrize(
    ("arrange", "attempt"),
    [(scheduled, 0), (blocked, 0), (queued, 0), (retry_wait, 1)],
    ids=["scheduled", "blocked", "queued", "retry_wait"],
)
def test_what_waits_is_cancelled_at_once_and_holds_nothing(play: Play, arrange: Arrange, attempt: int) -> None:
    async def scenario(bench: Any) -> None:
        submit = await arrange(bench)
        await bench.apply(submit)
        await bench.until(submit.job_id, arrange.__name__)
        before = {table: await bench.count(table) for table in HELD}
        assert any(before.values())
        first, second = bench.cancel(submit.job_id), bench.cancel(submit.job_id)
        await bench.apply(first)
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.dead, job.attempt) == ("cancelled", "user", False, attempt)
        assert (job.started_at is None) == (attempt == 0)
        assert job.finished_at is not None and job.session is None
        await bench.apply(second, first)
        assert (await bench.job(submit.job_id)).event_no == job.event_no
        assert (await outcome_of(bench, first), await outcome_of(bench, second)) == ("applied", "job_finished")
        for table in ("ready", "lease", "blocked", "dedupe"):
            assert await bench.pool.fetchval(f"SELECT count(*) FROM {table} WHERE job_id = $1", submit.job_id) == 0
        assert await bench.pool.fetchval("SELECT count(*) FROM timer WHERE job_id = $1", submit.job_id) == 0

    play(scenario)


@pytest.mark.parametrize(("arrange", "state"), [(succeeded, "succeeded"), (failed, "failed"), (expired, "expired")])
def test_what_is_finished_stays_so(play: Play, arrange: Arrange, state: str) -> None:
    async def scenario(bench: Any) -> None:
        submit = await arrange(bench)
        await bench.apply(submit)
        job = await bench.until(submit.job_id, state)
        cancel = bench.cancel(submit.job_id)
        await bench.apply(cancel)
        assert await outcome_of(bench, cancel) == "job_finished"
        after = await bench.job(submit.job_id)
        assert (after.state, after.event_no) == (state, job.event_no)

    play(scenario)


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.CANCELLED])
def test_whatever_a_cancelled_tool_does_the_end_is_cancelled(play: Play, verdict: Verdict) -> None:
    async def scenario(bench: Any) -> None:
        runner = Deaf(waits)
        await bench.work(runner)
        submit = bench.submit(retry=Retry(max_attempts=5))
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        first, second = bench.cancel(submit.job_id), bench.cancel(submit.job_id)
        await bench.apply(first, second)
        assert (await bench.job(submit.job_id)).state == "cancelling"
        runner.end(ended(runner.assignments[0], verdict, value=b'"done all the same"'))
        job = await bench.until(submit.job_id, "cancelled")
        assert (job.reason, job.error, job.dead) == ("user", None, False)
        assert (await reading.result(bench.pool, submit.job_id))["value"] is None
        assert await bench.states(submit.job_id) == ["queued", "running", "cancelling", "cancelled"]
        assert (await outcome_of(bench, first), await outcome_of(bench, second)) == ("applied", "applied")

    play(scenario)


def test_a_cancel_at_once_with_the_finish_has_one_winner(play: Play) -> None:
    """Both are under way at the same time, many times over: success or cancelled, and the command says which."""

    async def scenario(bench: Any) -> None:
        runner = Deaf(waits)
        await bench.work(runner)
        submits = [bench.submit() for _ in range(60)]
        await bench.apply(*submits)
        for submit in submits:
            await bench.until(submit.job_id, "running")
        by_job = {assignment.job_id: assignment for assignment in runner.assignments}
        cancels = {submit.job_id: bench.cancel(submit.job_id) for submit in submits}

        async def end(job_id: str, turn: int) -> None:
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            runner.end(ended(by_job[job_id], value=b"1"))

        async def cancel(job_id: str) -> None:
            ingest = Ingest(bench.engine)
            async with bench.pool.acquire() as connection, connection.transaction():
                await ingest.apply(connection, [bench.record(cancels[job_id])])

        pairs = [(cancel(s.job_id), end(s.job_id, turn)) for turn, s in enumerate(submits)]
        await asyncio.gather(*(one for pair in pairs for one in pair))

        async def all_done() -> bool:
            return await bench.count("lease") == 0

        await eventually(all_done, what="no job runs", timeout_s=15)
        for submit in submits:
            job = await bench.job(submit.job_id)
            told = await outcome_of(bench, cancels[submit.job_id])
            value = (await reading.result(bench.pool, submit.job_id))["value"]
            assert (job.state.value, told, value) in {
                ("succeeded", "job_finished", "1"),
                ("cancelled", "applied", None),
            }
            assert len(await bench.events(submit.job_id)) == job.event_no

    play(scenario)


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled_and_not_repeated(play: Play) -> None:
    from jobyard_executor.domain.job import Cause
    from jobyard_executor.handlers.reap import give_back

    async def scenario(bench: Any) -> None:
        work = await bench.work(Deaf(waits))
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        await bench.apply(bench.cancel(submit.job_id))
        async with bench.pool.acquire() as connection, connection.transaction():
            ids = [submit.job_id]
            assert await give_back(bench.engine, connection, ids, session=work.session, cause=Cause.WORKER_LOST) == 1
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.lost) == ("cancelled", "user", 0)

    play(scenario)


def test_a_cancel_that_another_executor_ingests_reaches_the_worker_before_its_beat(
    play: Play, servers: Any, valkey_prefix: str
) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        work = await bench.work(runner, terms=SLOW_BEAT)
        here = Hints(servers.valkey, prefix=valkey_prefix, instance="executor-1", heard=work.stop_running)
        there = Hints(servers.valkey, prefix=valkey_prefix, instance="executor-2", heard=None)
        other = Engine(bench.clock, Tracer("executor"), "executor-2", stop_running=there.stop_running)
        await here.start()
        await there.start()
        try:
            await asyncio.wait_for(here.listening.wait(), 10)
            submit = bench.submit()
            await bench.apply(submit)
            await bench.until(submit.job_id, "running")
            ingest = Ingest(other)
            async with bench.pool.acquire() as connection, connection.transaction():
                await ingest.apply(connection, [bench.record(bench.cancel(submit.job_id))])
            ingest.after_commit()
            await bench.until(submit.job_id, "cancelled", timeout_s=20)
            assert runner.stopped == [(submit.job_id, runner.assignments[0].fence, StopReason.CANCEL)]
        finally:
            await here.stop()
            await there.stop()

    play(scenario)


def test_without_valkey_hints_are_dropped_and_nothing_fails(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        for url in (None, "redis://127.0.0.1:1/0"):
            hints = Hints(url, prefix="x", instance="executor-1", heard=None)
            await hints.start()
            hints.stop_running("job_1", 1)
            await asyncio.sleep(0)
            await hints.stop()

    play(scenario)
