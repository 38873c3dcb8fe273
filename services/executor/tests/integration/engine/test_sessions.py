"""Workers come and go: leases, fences, beats, the reaper, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jobyard_common.contracts.jobs import Retry
from jobyard_executor.domain.assignment import Assignment, Verdict
from jobyard_executor.domain.job import Cause
from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.finish import Ended, finish
from jobyard_executor.handlers.reap import reap_orphans, reap_session
from jobyard_executor.store import sessions
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]
WHO = sessions.Identity("other", "elsewhere", "boot", 1, 1)
QUICK = LeaseTerms(
    beat=timedelta(seconds=0.2),
    ttl=timedelta(seconds=3),
    trust=timedelta(seconds=2),
    claim_timeout=timedelta(seconds=0.2),
)


def waits(_assignment: Assignment) -> None:
    return None


async def session_of(bench: Any, name: str, *, ttl_s: float = 30.0) -> str:
    ttl = timedelta(seconds=ttl_s)
    await sessions.open_session(bench.pool, name, WHO, ttl=ttl, tools=[], levels=[], slots="{}")
    return name


async def claim(bench: Any, session: str, *, slots: int = 10) -> list[Any]:
    found = await bench.claimer().claim(session, free={"async": slots})
    assert found is not None
    return list(found)


async def seen(bench: Any, session: str) -> sessions.Seen:
    return next(row for row in await sessions.others(bench.pool, "") if row.session == session)


def test_a_lost_workers_job_runs_again_under_a_higher_fence_and_its_late_end_is_refused(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first, second = await session_of(bench, "ses_1"), await session_of(bench, "ses_2")
        submit = bench.submit()
        await bench.apply(submit)
        (lost,) = await claim(bench, first)
        assert await reap_session(bench.engine, bench.pool, await seen(bench, first), cause=Cause.WORKER_LOST) == 1
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.lost, job.failures) == ("queued", "worker_lost", 1, 0)
        (taken,) = await claim(bench, second)
        assert taken.assignment.fence > lost.assignment.fence
        assert taken.assignment.attempt == 2
        await finish(bench.engine, bench.pool, [Ended(lost, ended(lost.assignment, value=b'"late"'))])
        assert (await bench.job(submit.job_id)).state == "running"
        await finish(bench.engine, bench.pool, [Ended(taken, ended(taken.assignment, value=b'"mine"'))])
        assert await bench.pool.fetchval("SELECT value FROM result WHERE job_id = $1", submit.job_id) == '"mine"'
        kinds = [row["type"] for row in await bench.pool.fetch("SELECT type FROM lifecycle ORDER BY event_no")]
        assert kinds == ["queued", "started", "retrying", "started", "succeeded"]

    play(scenario)


def test_a_job_that_loses_three_workers_fails(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit()
        await bench.apply(submit)
        for number in range(3):
            session = await session_of(bench, f"ses_{number}")
            assert len(await claim(bench, session)) == 1
            await reap_session(bench.engine, bench.pool, await seen(bench, session), cause=Cause.WORKER_LOST)
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.dead) == ("failed", "worker_lost", True)
        assert await bench.count("result") == 1

    play(scenario)


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled_not_repeated(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session = await session_of(bench, "ses_1")
        submit = bench.submit()
        await bench.apply(submit)
        await claim(bench, session)
        await bench.apply(bench.cancel(submit.job_id))
        assert (await bench.job(submit.job_id)).state == "cancelling"
        await reap_session(bench.engine, bench.pool, await seen(bench, session), cause=Cause.WORKER_LOST)
        assert (await bench.job(submit.job_id)).state == "cancelled"

    play(scenario)


def test_a_session_that_beat_meanwhile_is_not_reaped(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session = await session_of(bench, "ses_1")
        looked_at = await seen(bench, session)
        assert await sessions.beat(bench.pool, session, ttl=timedelta(seconds=30))
        assert await reap_session(bench.engine, bench.pool, looked_at, cause=Cause.WORKER_LOST) == 0
        assert await bench.claimer().claim(session, free={"async": 1}) == []

    play(scenario)


def test_a_dead_session_neither_beats_nor_claims(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.apply(bench.submit())
        session = await session_of(bench, "ses_1")
        await reap_session(bench.engine, bench.pool, await seen(bench, session), cause=Cause.WORKER_LOST)
        assert await bench.claimer().claim(session, free={"async": 1}) is None
        assert not await sessions.beat(bench.pool, session, ttl=timedelta(seconds=30))
        expired = await session_of(bench, "ses_2", ttl_s=-1.0)
        assert not await sessions.beat(bench.pool, expired, ttl=timedelta(seconds=30))
        assert await bench.claimer().claim(expired, free={"async": 1}) is None

    play(scenario)


def test_a_claim_whose_answer_was_lost_is_handed_back_by_the_beat(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        work = await bench.work(runner, terms=QUICK)
        blocker = bench.submit()
        await bench.apply(blocker)
        await bench.until(blocker.job_id, "running")
        runner.slots = {"async": 1}
        lost = bench.submit()
        await bench.apply(lost)
        assert work.session is not None
        assert len(await claim(bench, work.session)) == 1
        runner.script = ended
        runner.slots = {"async": 10}
        job = await bench.until(lost.job_id, "succeeded")
        assert (job.interrupted, job.lost, job.attempt) == (1, 0, 2)
        assert (await bench.job(blocker.job_id)).state == "running"

    play(scenario)


def test_an_attempt_that_its_runner_forgot_is_handed_back(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        await bench.work(runner, terms=QUICK)
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        runner.script = ended
        runner.forget(submit.job_id, runner.assignments[0].fence)
        job = await bench.until(submit.job_id, "succeeded")
        assert (job.interrupted, job.attempt) == (1, 2)

    play(scenario)


def test_a_worker_kills_what_it_no_longer_holds_and_goes_on_in_a_new_session(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        work = await bench.work(runner, terms=QUICK)
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        old = work.session
        runner.script = ended
        await reap_session(bench.engine, bench.pool, await seen(bench, str(old)), cause=Cause.WORKER_LOST)
        job = await bench.until(submit.job_id, "succeeded")
        assert job.attempt == 2
        assert work.session not in (None, old)
        assert runner.stopped[0][:2] == (submit.job_id, runner.assignments[0].fence)

    play(scenario)


def test_leases_of_no_session_are_swept(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session = await session_of(bench, "ses_1")
        submit = bench.submit()
        await bench.apply(submit)
        await claim(bench, session)
        await bench.pool.execute("DELETE FROM worker")
        terms = LeaseTerms(
            beat=timedelta(microseconds=1), trust=timedelta(microseconds=2), ttl=timedelta(microseconds=3)
        )
        assert await reap_orphans(bench.engine, bench.pool, terms=terms) == 1
        assert (await bench.job(submit.job_id)).state == "queued"

    play(scenario)


def test_a_drain_hands_back_what_runs_without_burning_an_attempt(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        work = await bench.work(runner)
        submit = bench.submit(retry=Retry(max_attempts=1))
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        await work.drain()
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.failures, job.interrupted) == ("queued", "interrupted", 0, 1)
        assert await bench.pool.fetchval("SELECT reaped FROM worker")

    play(scenario)


def test_a_limit_is_never_exceeded_by_eight_claimers(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submits = [bench.submit(concurrency_key=f"key {n % 2}") for n in range(60)]
        await bench.apply(*submits)
        await bench.pool.execute("INSERT INTO \"limit\" (key, n) VALUES ('key:tnt_test/key 0', 3)")
        highest: dict[str, int] = {}
        done = 0

        async def probe() -> None:
            while done < len(submits):
                rows = await bench.pool.fetch("SELECT concurrency, count(*) AS n FROM lease GROUP BY 1")
                for row in rows:
                    highest[row["concurrency"]] = max(highest.get(row["concurrency"], 0), row["n"])
                await asyncio.sleep(0.001)

        async def worker(number: int) -> None:
            nonlocal done
            session = await session_of(bench, f"ses_{number}")
            claimer = bench.claimer()
            while done < len(submits):
                held = await claimer.claim(session, free={"async": 10})
                if held:
                    await asyncio.sleep(0.005)
                    await finish(bench.engine, bench.pool, [Ended(one, ended(one.assignment)) for one in held])
                    done += len(held)
                else:
                    await asyncio.sleep(0.005)

        async with asyncio.timeout(60):
            await asyncio.gather(probe(), *(worker(number) for number in range(6)))
        assert highest["key 0"] <= 3
        assert highest["key 1"] == 1
        assert await bench.count("job_done") == 60

    play(scenario)


def test_two_claimers_never_take_the_same_job(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submits = [bench.submit() for _ in range(300)]
        await bench.apply(*submits)
        names = [await session_of(bench, f"ses_{number}") for number in range(6)]
        found = await asyncio.gather(*(claim(bench, name, slots=100) for name in names))
        ids = [held.job.job_id for held_by_one in found for held in held_by_one]
        assert len(ids) == len(set(ids))
        assert await bench.count("lease") == len(ids)
        assert await bench.count("ready") == 300 - len(ids)

    play(scenario)


def test_outcomes_of_one_batch_may_end_differently(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session = await session_of(bench, "ses_1")
        submits = [bench.submit(retry=Retry(max_attempts=2)) for _ in range(4)]
        await bench.apply(*submits)
        held = await claim(bench, session)
        verdicts = [Verdict.SUCCEEDED, Verdict.ERROR, Verdict.INTERRUPTED, Verdict.WORKER_LOST]
        by_id = dict(zip((submit.job_id for submit in submits), verdicts, strict=True))
        batch = [Ended(one, ended(one.assignment, by_id[one.job.job_id])) for one in held]
        await finish(bench.engine, bench.pool, batch)
        states = [(await bench.job(submit.job_id)).state for submit in submits]
        assert states == ["succeeded", "retry_wait", "queued", "queued"]
        assert (await bench.count("lease"), await bench.count("ready"), await bench.count("timer")) == (0, 2, 1)

    play(scenario)
