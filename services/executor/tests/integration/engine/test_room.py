"""What makes many jobs waits for room: pages of runs, steps of bulk operations, fires of schedules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from jobyard_common.testing.eventually import eventually
from jobyard_executor.handlers.room import Room
from jobyard_executor.store.admission import Waiting, WaitingCounts
from jobyard_executor.testing.runner import ScriptedRunner

from . import bulk_calls, schedule_calls
from .run_flows import TENANT, Flows, Play, Scenario, echo, step


class Counts:
    """A count that a test sets; a new one whenever it differs."""

    def __init__(self, *, waiting: int = 0, limits: dict[str, int] | None = None) -> None:
        self.waiting = waiting
        self.limits = limits or {}
        self.failure: Exception | None = None

    async def now(self) -> Waiting:
        if self.failure is not None:
            raise self.failure
        return Waiting(
            1000 * self.waiting + len(self.limits), {"default": self.waiting}, {TENANT: self.waiting}, self.limits
        )


def room(counts: Counts, *, most: int = 0) -> Room:
    return Room(cast(WaitingCounts, counts), most_waiting=most)


def test_a_long_list_begins_as_far_as_its_queue_has_room(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        counts = Counts(waiting=3, limits={"default": 10})
        bench.engine.room = room(counts)
        all_ = await Flows(bench).open()
        try:
            run_id = await all_.start(
                [step("each", for_each="${input.n}", parameters={"x": "${item}"})], {"n": [1] * 40}
            )

            async def born() -> bool:
                return bool(await bench.count("job") == 7)

            await eventually(born, what="as many jobs as there is room for")
            counts.waiting = 10
            await bench.pool.execute("UPDATE workflow_todo SET at = now()")
            all_.pump.wake()

            async def put_off() -> bool:
                return bool(await bench.pool.fetchval("SELECT at > now() FROM workflow_todo"))

            await eventually(put_off, what="the run looks again later")
            assert (await all_.states(run_id)) == {"each": "active"}
            assert await bench.count("job") == 7
            counts.waiting, counts.limits = 0, {}
            await bench.work(ScriptedRunner(echo))
            row = await all_.until_ended(run_id)
            assert (row["state"], row["jobs"], row["jobs_open"]) == ("succeeded", 40, 0)
            assert await bench.count("workflow_todo") == 0
        finally:
            await all_.close()

    play(scenario)


def test_a_step_in_a_full_queue_waits_and_another_one_does_not(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        counts = Counts(waiting=5, limits={"default": 5})
        bench.engine.room = room(counts)
        all_ = await Flows(bench).open()
        try:
            await bench.work(ScriptedRunner(echo))
            run_id = await all_.start([step("full"), step("free", queue="other")])

            async def free_is_through() -> bool:
                return bool((await bench.pool.fetchval("SELECT count(*) FROM job_done")) == 1)

            await eventually(free_is_through, what="the free step has ended")
            assert await all_.states(run_id) == {"full": "due", "free": "succeeded"}
            counts.waiting = 0
            assert (await all_.until_ended(run_id))["state"] == "succeeded"
        finally:
            await all_.close()

    play(scenario)


def test_steps_of_a_tool_follow_its_route(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        await all_.bench.pool.execute("INSERT INTO route (tool, queue) VALUES ('test.noop', 'routed')")
        run_id = await all_.start([step("a"), step("b", queue="own")])
        await all_.until_ended(run_id)
        steps = await all_.steps(run_id)
        queues = {
            name: (await all_.bench.pool.fetchval("SELECT queue FROM job_list WHERE job_id = $1", row["job_id"]))
            for name, row in steps.items()
        }
        assert queues == {"a": "routed", "b": "own"}

    flows(scenario)


def test_a_bulk_replay_waits_for_room_and_says_so(play: bulk_calls.Play) -> None:
    async def scenario(bench: Any) -> None:
        ids = await bulk_calls.jobs(bench, 9)
        await bench.apply(*(bench.cancel(job_id) for job_id in ids))
        counts = Counts(waiting=0)
        bench.engine.room = room(counts, most=4)
        bulk = await bulk_calls.begin(bench, action="replay", filter=[("state", "cancelled")])
        assert await bulk_calls.steps(bench) == 1
        found = await bulk_calls.look(bench, bulk["id"])
        assert (found["state"], found["seen"], found["done"]) == ("running", 4, 4)
        assert found["waits_for"] == "4 jobs wait already."
        counts.waiting = 4
        bench.clock.ahead += timedelta(seconds=2)
        assert await bulk_calls.steps(bench) == 1
        assert (await bulk_calls.look(bench, bulk["id"]))["seen"] == 4, "nothing is lost, nothing is taken"
        counts.waiting = -100
        bench.clock.ahead += timedelta(seconds=2)
        await bulk_calls.steps(bench)
        found = await bulk_calls.look(bench, bulk["id"])
        assert (found["state"], found["seen"], found["done"], found["waits_for"]) == ("done", 9, 9, None)
        assert (await bulk_calls.states(bench)) == {"cancelled": 9, "queued": 9}

    play(scenario)


def test_a_bulk_cancel_needs_no_room(play: bulk_calls.Play) -> None:
    async def scenario(bench: Any) -> None:
        ids = await bulk_calls.jobs(bench, 3)
        bench.engine.room = room(Counts(waiting=9, limits={"default": 1}), most=1)
        await bulk_calls.begin(bench, action="cancel", ids=ids)
        await bulk_calls.steps(bench)
        assert await bulk_calls.states(bench) == {"cancelled": 3}

    play(scenario)


def test_a_fire_into_a_full_queue_waits_for_room(play: schedule_calls.Play) -> None:
    async def scenario(bench: Any) -> None:
        counts = Counts(waiting=1, limits={"default": 1})
        bench.engine.room = room(counts)
        made = await schedule_calls.make(bench, interval_s=60)
        await schedule_calls.tick(bench, seconds=61)
        rows = await schedule_calls.fires(bench, made["id"])
        assert [(row["outcome"], row["reason"]) for row in rows] == [("waiting", "queue_full")]
        assert await bench.count("job") == 0
        counts.waiting = 0
        await schedule_calls.tick(bench, seconds=1)
        assert await schedule_calls.outcomes(bench, made["id"]) == ["started"]
        assert await bench.count("job") == 1

    play(scenario)


def test_a_fire_follows_the_route_of_its_tool_unless_the_template_names_a_queue(play: schedule_calls.Play) -> None:
    async def scenario(bench: Any) -> None:
        own = {"tool": "test.noop", "queue": "default"}
        await schedule_calls.make(bench, interval_s=60)
        await schedule_calls.make(bench, name="own", template=own, interval_s=60)
        await bench.pool.execute("INSERT INTO route (tool, queue) VALUES ('test.noop', 'routed')")
        await schedule_calls.tick(bench, seconds=61)
        rows = await bench.pool.fetch("SELECT queue FROM job_list")
        assert sorted(row["queue"] for row in rows) == ["default", "routed"]

    play(scenario)


def test_room_is_counted_by_tenant_and_queue(play: Play) -> None:
    async def scenario(_bench: Any) -> None:
        counts = Counts(waiting=2, limits={"default": 4})
        found = room(counts, most=10)
        assert found.fitting("t", ["default"] * 3) == (1_000_000_000, None), "before the first look nothing is bounded"
        await found.look()
        assert (found.of_tenant(TENANT), found.of_queue("default"), found.of_queue("other")) == (8, 2, 1_000_000_000)
        assert not found.wide(TENANT, 1)
        assert found.fitting(TENANT, ["default", None, "default", "other", "default"]) == (
            4,
            "The queue default is full.",
        )
        found.take(TENANT, ["default"] * 2)
        assert found.full(TENANT, "default") == "The queue default is full."
        assert found.full(TENANT, "other") is None
        found.take(TENANT, ["other"] * 6)
        assert found.full(TENANT, "other") == "10 jobs wait already."
        counts.waiting = 3
        await found.look()
        assert found.of_tenant(TENANT) == 7, "a new count knows of them"
        counts.failure = ConnectionResetError("gone")
        await found.look()
        assert found.of_tenant(TENANT) == 7, "a count that cannot be had leaves the last one"
        counts.failure = ValueError("a mistake of ours")
        with pytest.raises(ValueError, match="mistake"):
            await found.look()

    play(scenario)
