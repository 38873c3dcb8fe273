"""Jobs that wait for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from jobyard_common.contracts.ids import new_id
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.handlers import sweep_blocked
from jobyard_executor.handlers.finish import Ended, finish
from jobyard_executor.handlers.sweep_blocked import SweepBlocked
from jobyard_executor.store import sessions
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]


def test_a_child_starts_when_all_its_parents_are_done(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(lambda _assignment: None)
        await bench.work(runner)
        parents = [bench.submit() for _ in range(3)]
        child = bench.submit(depends_on=tuple(parent.job_id for parent in parents))
        await bench.apply(*parents[:2], child)
        await bench.apply(parents[2])
        assert (await bench.job(child.job_id)).state == "blocked"
        for parent in parents:
            await bench.until(parent.job_id, "running")
        for assignment in list(runner.assignments):
            assert (await bench.job(child.job_id)).state == "blocked"
            runner.end(ended(assignment))
            await bench.until(assignment.job_id, "succeeded")
        await bench.until(child.job_id, "running")
        assert await bench.states(child.job_id) == ["blocked", "queued", "running"]

    play(scenario)


def test_a_failure_passes_down_the_chain(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        def script(assignment: Assignment) -> Outcome:
            return ended(assignment, Verdict.ERROR, failure=Failure("x", "y", retryable=False))

        parent = bench.submit()
        child = bench.submit(depends_on=(parent.job_id,))
        grandchild = bench.submit(depends_on=(child.job_id,))
        await bench.apply(grandchild, child, parent)
        await bench.work(ScriptedRunner(script))
        job = await bench.until(grandchild.job_id, "failed")
        assert (job.reason, job.dead) == ("dependency_failed", False)
        late = bench.submit(depends_on=(parent.job_id,))
        await bench.apply(late)
        assert (await bench.job(late.job_id)).reason == "dependency_failed"

    play(scenario)


def test_a_child_submitted_while_its_parent_ends_is_never_stuck(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        who = sessions.Identity("other", "elsewhere", "boot", 1, 1)
        ttl = timedelta(seconds=60)
        await sessions.open_session(bench.pool, "ses_1", who, ttl=ttl, tools=[], levels=[], slots="{}")
        claimer = bench.claimer()
        children = []
        for number in range(60):
            parent = bench.submit()
            await bench.apply(parent)
            claimed = await claimer.claim("ses_1", free={"async": 1000})
            held = [one for one in claimed or () if one.job.job_id == parent.job_id]
            child = bench.submit(depends_on=(parent.job_id,))
            children.append(child.job_id)

            async def submit_late(command: Any = child, delay_s: float = (number % 10) * 0.0004) -> None:
                await asyncio.sleep(delay_s)
                await bench.apply(command)

            ends = [Ended(one, ended(one.assignment)) for one in held]
            await asyncio.gather(finish(bench.engine, bench.pool, ends), submit_late())
        states = await bench.pool.fetch("SELECT state, count(*) FROM job WHERE job_id = ANY($1) GROUP BY 1", children)
        assert "blocked" not in {row["state"] for row in states}

    play(scenario)


def test_the_sweeper_resolves_circles_and_parents_that_never_come(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        one, two = new_id("job"), new_id("job")
        await bench.apply(
            bench.submit(job_id=one, depends_on=(two,)),
            bench.submit(job_id=two, depends_on=(one,)),
        )
        lonely = bench.submit(depends_on=(new_id("job"),))
        await bench.apply(lonely)
        bench.clock.ahead = timedelta(seconds=61)
        await SweepBlocked(bench.engine, bench.pool).work()
        assert {(await bench.job(job_id)).reason for job_id in (one, two)} == {"dependency_failed"}
        assert (await bench.job(lonely.job_id)).state == "blocked"
        bench.clock.ahead = timedelta(minutes=11)
        await SweepBlocked(bench.engine, bench.pool).work()
        assert (await bench.job(lonely.job_id)).reason == "dependency_failed"
        assert await bench.count("blocked") == 0

    play(scenario)


def test_a_blocked_job_can_be_cancelled(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        parent = bench.submit()
        child = bench.submit(depends_on=(parent.job_id,))
        await bench.apply(parent, child)
        await bench.apply(bench.cancel(child.job_id))
        assert (await bench.job(child.job_id)).state == "cancelled"
        assert await bench.count("blocked") == 0

    play(scenario)


def test_the_sweeper_comes_to_every_blocked_job(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_blocked, "PAGE", 3)
    monkeypatch.setattr(sweep_blocked, "PAGES", 2)

    async def scenario(bench: Any) -> None:
        waiting = bench.submit(queue="nobody")
        await bench.apply(waiting)
        await bench.apply(*[bench.submit(depends_on=(waiting.job_id,)) for _ in range(7)])
        bench.clock.ahead = timedelta(minutes=1)
        lonely = [bench.submit(depends_on=(new_id("job"),)) for _ in range(4)]
        await bench.apply(*lonely)
        bench.clock.ahead = timedelta(minutes=20)
        sweep = SweepBlocked(bench.engine, bench.pool)
        assert [await sweep.work() for _ in range(3)] == [0, 4, 0]
        assert {(await bench.job(one.job_id)).reason for one in lonely} == {"dependency_failed"}

    play(scenario)
