"""Children that a tool asked for are born in the finish of its attempt, under its fence, and only once."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Retry
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.domain.child import ChildJob, child_id
from jobyard_executor.handlers.fire_timers import fire_timers
from jobyard_executor.testing.runner import ScriptedRunner, ended

from .run_flows import define

TENANT = "tnt_test"
Play = Callable[[Callable[[Any], Awaitable[None]]], None]


def child(key: str, **more: Any) -> ChildJob:
    return ChildJob(key, msgspec.Raw(json.dumps({"tool": "test.noop", **more}).encode()))


def with_children(assignment: Assignment, children: tuple[ChildJob, ...], **more: Any) -> Outcome:
    return msgspec.structs.replace(ended(assignment, **more), children=children)


def test_children_are_born_with_the_success(play: Play) -> None:
    async def whole(bench: Any) -> None:
        await define(bench)
        parent = new_id("job")
        family = (
            child("#0", parameters={"n": 1}, tags=["x"]),
            child("mine", priority=9),
            child("#1", tool="test.gone"),
        )

        def script(assignment: Assignment) -> Outcome:
            return with_children(assignment, family) if assignment.job_id == parent else ended(assignment)

        await bench.work(ScriptedRunner(script))
        await bench.apply(bench.submit(job_id=parent))
        ids = [child_id(parent, one.key, tenant=TENANT) for one in family]
        first = await bench.until(ids[0], "succeeded")
        assert (first.parent_id, first.correlation_id) == (parent, "corr-1")
        assert json.loads(first.spec)["parameters"] == {"n": 1}
        assert json.loads((await bench.until(ids[1], "succeeded")).spec)["priority"] == 9
        gone = await bench.until(ids[2], "failed")
        assert gone.reason == "rejected" and "test.gone" in gone.error
        listed = await bench.pool.fetch("SELECT job_id, made_by FROM job_list WHERE parent_id = $1", parent)
        assert {(row["job_id"], row["made_by"]) for row in listed} == {(job_id, "child") for job_id in ids}

    play(whole)


def test_an_attempt_that_is_repeated_has_its_children_once(play: Play) -> None:
    async def whole(bench: Any) -> None:
        await define(bench)
        parent = new_id("job")

        def script(assignment: Assignment) -> Outcome:
            if assignment.job_id != parent:
                return ended(assignment)
            family = (child("#0"), child("#1"))
            if assignment.attempt == 1:
                failure = Failure("broken", "It broke.")
                return with_children(assignment, family, verdict=Verdict.ERROR, failure=failure)
            return with_children(assignment, family)

        await bench.work(ScriptedRunner(script))
        await bench.apply(bench.submit(job_id=parent, retry=Retry(max_attempts=2, base_s=0.01)))
        waiting = await bench.until(parent, "retry_wait")
        assert waiting.attempt == 1
        assert await bench.count("job") == 1
        bench.clock.ahead = timedelta(seconds=5)
        await fire_timers(bench.engine, bench.pool)
        assert (await bench.until(parent, "succeeded")).attempt == 2
        await bench.until(child_id(parent, "#1", tenant=TENANT), "succeeded")
        assert await bench.count("job") == 3

    play(whole)


def test_children_of_a_lost_attempt_are_never_born(play: Play) -> None:
    async def whole(bench: Any) -> None:
        await define(bench)
        held: list[Assignment] = []

        def keep(assignment: Assignment) -> None:
            held.append(assignment)

        runner = ScriptedRunner(keep)
        await bench.work(runner)
        command = bench.submit()
        await bench.apply(command)
        await bench.until(command.job_id, "running")
        await bench.pool.execute("UPDATE job SET fence = fence + 1 WHERE job_id = $1", command.job_id)
        runner.end(with_children(held[0], (child("#0"),)))
        later = bench.submit()
        runner.script = ended
        await bench.apply(later)
        await bench.until(later.job_id, "succeeded")
        assert await bench.job(child_id(command.job_id, "#0", tenant=TENANT)) is None

    play(whole)


def test_large_families_finish_apart_and_whole(play: Play) -> None:
    async def whole(bench: Any) -> None:
        await define(bench)
        parents = {new_id("job") for _ in range(3)}
        family = tuple(child(f"#{n}") for n in range(800))

        def script(assignment: Assignment) -> Outcome:
            return with_children(assignment, family) if assignment.job_id in parents else ended(assignment)

        await bench.work(ScriptedRunner(script))
        await bench.apply(*(bench.submit(job_id=job_id) for job_id in parents))
        for job_id in parents:
            await bench.until(job_id, "succeeded")
            assert await bench.pool.fetchval("SELECT count(*) FROM job WHERE parent_id = $1", job_id) == 800

    play(whole)
