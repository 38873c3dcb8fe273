"""Ends of runs that nobody planned: cancels, retries, missed ends, and many at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.contracts import workflows as flow
from jobyard_common.contracts.ids import new_id
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.handlers.advance_runs import advance_runs
from jobyard_executor.handlers.go_on import go_on
from jobyard_executor.handlers.sweep_runs import forget_runs, sweep_runs
from jobyard_executor.inbound.run_pump import RunPump
from jobyard_executor.testing.runner import ScriptedRunner, ended

from .run_flows import ACTOR, TENANT, Flows, Play, Scenario, echo, step


def test_cancel_ends_all_of_a_run(play: Play) -> None:
    async def whole(bench: Any) -> None:
        all_ = await Flows(bench).open()
        runner = ScriptedRunner(lambda assignment: None)
        await bench.work(runner)
        run_id = await all_.start(
            [
                step("many", for_each=list(range(600))),
                step("after", "many"),
                step("always", ("after", "always")),
                step("late", delay_s=3600),
            ]
        )

        async def running() -> bool:
            return len(runner.assignments) >= 256

        await eventually(running, what="the slots are full", timeout_s=20)
        assert await all_.apply(flow.CancelRun(new_id("cmd"), run_id, TENANT, ACTOR)) == []

        def end_stopped() -> None:
            for job_id, fence, _ in runner.stopped:
                with_key = [a for a in runner.assignments if (a.job_id, a.fence) == (job_id, fence)]
                if with_key and (job_id, fence) in runner.running():
                    runner.end(ended(with_key[0], Verdict.CANCELLED))

        async def over() -> Any:
            end_stopped()
            row = await all_.run(run_id)
            return row if row["finished_at"] else None

        row = await eventually(over, what="the run has ended", timeout_s=30)
        assert (row["state"], row["jobs_open"], row["steps_open"]) == ("cancelled", 0, 0)
        assert set((await all_.states(run_id)).values()) == {"cancelled"}
        live = await bench.pool.fetchval("SELECT count(*) FROM job WHERE finished_at IS NULL")
        assert live == 0
        again = flow.CancelRun(new_id("cmd"), run_id, TENANT, ACTOR)
        await all_.apply(again)
        outcome = await bench.pool.fetchval("SELECT outcome FROM command_seen WHERE command_id = $1", again.command_id)
        assert outcome == "job_finished"
        await all_.close()

    play(whole)


def test_a_run_cancelled_before_it_began(play: Play) -> None:
    async def whole(bench: Any) -> None:
        all_ = await Flows(bench).open(pump=False)
        run_id = await all_.start([step("a")])
        await all_.apply(flow.CancelRun(new_id("cmd"), run_id, TENANT, ACTOR))
        assert await go_on(bench.engine, bench.pool)
        assert (await all_.run(run_id))["state"] == "cancelled"
        assert await bench.count("job") == 0

    play(whole)


def test_retry_keeps_what_succeeded(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        steps = [
            step("a", parameters={"x": 1}),
            step("each", "a", for_each=[1, 2], parameters={"n": "${item}"}),
            step("bad", "a", parameters={"fail": "${input.fail}"}),
            step("end", "each", "bad", parameters={"all": "${steps.each.result}", "x": "${steps.a.result.x}"}),
        ]
        first = await all_.start(steps, {"fail": True})
        assert (await all_.until_ended(first))["state"] == "failed"
        before = await all_.steps(first)

        def retry(**more: Any) -> flow.RetryRun:
            return flow.RetryRun(new_id("cmd"), first, TENANT, ACTOR, new_id("wfr"), all_.bench.clock.now(), **more)

        mended = retry(input=msgspec.Raw(b'{"fail": false}'))
        await all_.apply(mended, mended)
        assert (await all_.until_ended(mended.new_run_id))["state"] == "succeeded"
        after = await all_.steps(mended.new_run_id)
        assert (after["a"]["job_id"], after["a"]["reason"]) == (before["a"]["job_id"], "kept")
        assert after["bad"]["job_id"] != before["bad"]["job_id"]
        assert await all_.value(mended.new_run_id, "end") == {"all": [{"n": 1}, {"n": 2}], "x": 1}
        assert (await all_.run(mended.new_run_id))["jobs"] == 2

        from_a = retry(steps=("a",), input=msgspec.Raw(b'{"fail": false}'))
        whole = retry(whole=True)
        wrong = retry(steps=("nobody",))
        await all_.apply(from_a, whole, wrong)
        assert (await all_.until_ended(from_a.new_run_id))["jobs"] == 5
        assert (await all_.until_ended(whole.new_run_id))["state"] == "failed"
        assert await all_.run(wrong.new_run_id) is None

    flows(scenario)


def test_retry_of_a_list_repeats_only_the_items_that_failed(play: Play) -> None:
    broken = {"2", "4"}
    ran: list[str] = []

    def flaky(assignment: Assignment) -> Outcome:
        item = bytes(assignment.parameters).decode()
        ran.append(item)
        if any(f'"n":{one}' in item for one in broken):
            return ended(assignment, Verdict.ERROR, failure=Failure("broken", "It broke.", retryable=False))
        return ended(assignment, value=bytes(assignment.parameters))

    async def scenario(bench: Any) -> None:
        all_ = await Flows(bench).open()
        await bench.work(ScriptedRunner(flaky))
        try:
            steps = [
                step("each", for_each="${input.list}", parameters={"n": "${item}"}),
                step("sum", "each", parameters={"all": "${steps.each.result}"}),
            ]
            first = await all_.start(steps, {"list": [1, 2, 3, 4, 5]})
            assert (await all_.until_ended(first))["state"] == "failed"

            def retry(origin: str, **more: Any) -> flow.RetryRun:
                return flow.RetryRun(new_id("cmd"), origin, TENANT, ACTOR, new_id("wfr"), bench.clock.now(), **more)

            broken.discard("2")
            ran.clear()
            second = retry(first)
            await all_.apply(second)
            row = await all_.until_ended(second.new_run_id)
            assert (row["state"], row["jobs"], sorted(ran)) == ("failed", 2, ['{"n":2}', '{"n":4}'])
            broken.clear()
            ran.clear()
            third = retry(second.new_run_id)
            await all_.apply(third)
            row = await all_.until_ended(third.new_run_id)
            assert (row["state"], row["jobs"], row["jobs_open"], row["steps_open"]) == ("succeeded", 2, 0, 0)
            assert ran[0] == '{"n":4}' and len(ran) == 2
            assert await all_.value(third.new_run_id, "sum") == {"all": [{"n": n} for n in (1, 2, 3, 4, 5)]}
            whole_list = retry(first, steps=("each",))
            other_input = retry(first, input=msgspec.Raw(b'{"list": [7, 8]}'))
            await all_.apply(whole_list, other_input)
            assert (await all_.until_ended(whole_list.new_run_id))["jobs"] == 6, "a step that was named runs as a whole"
            assert (await all_.until_ended(other_input.new_run_id))["jobs"] == 3, "another input is another list"
        finally:
            await all_.close()

    play(scenario)


def test_the_sweeper_takes_in_an_end_that_was_missed(play: Play) -> None:
    async def whole(bench: Any) -> None:
        all_ = await Flows(bench).open()
        run_id = await all_.start([step("a"), step("b", "a", for_each=[1, 2]), step("c", "b")])

        async def born() -> Any:
            return await bench.pool.fetchval("SELECT job_id FROM ready LIMIT 1")

        await eventually(born, what="the first step is queued")

        async def nobody(*_: Any) -> bool:
            return False

        bench.engine.advance_runs = nobody
        await bench.work(ScriptedRunner(echo))

        async def missed() -> Any:
            return await bench.pool.fetchval("SELECT 1 FROM job WHERE state = 'succeeded'")

        await eventually(missed, what="a job ended unseen")
        assert await sweep_runs(bench.engine, bench.pool) == 0
        bench.engine.advance_runs = advance_runs
        bench.clock.ahead = timedelta(minutes=2)
        assert await sweep_runs(bench.engine, bench.pool) == 1
        row = await all_.until_ended(run_id)
        assert (row["state"], row["jobs"]) == ("succeeded", 4)
        assert await forget_runs(bench.engine, bench.pool, retention=timedelta(days=1)) == 0
        bench.clock.ahead = timedelta(days=3)
        assert await forget_runs(bench.engine, bench.pool, retention=timedelta(days=1)) == 1
        assert [await bench.count(f"workflow_{table}") for table in ("run", "step", "item")] == [0, 0, 0]
        await all_.close()

    play(whole)


def test_a_deep_graph_fails_as_a_whole_without_a_job_each(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        chain = [step("s0", parameters={"fail": True})]
        chain += [step(f"s{n}", f"s{n - 1}") for n in range(1, 3000)]
        run_id = await all_.start(chain)
        row = await all_.until_ended(run_id)
        assert (row["state"], row["jobs"]) == ("failed", 1)
        assert set((await all_.states(run_id)).values()) == {"failed"}

    flows(scenario)


def test_many_runs_at_once_on_two_engines(play: Play) -> None:
    async def whole(bench: Any) -> None:
        all_ = await Flows(bench).open()
        await bench.work(ScriptedRunner(echo))
        second = RunPump(bench.engine, bench.pool)
        await second.start()
        steps = [
            step("a"),
            step("b", "a", for_each=list(range(30))),
            step("c", "b"),
            step("d", "a"),
            step("e", "c", "d"),
        ]
        commands = [all_.command(steps) for _ in range(20)]
        await all_.apply(*commands)
        for command in commands:
            row = await all_.until_ended(command.run_id)
            assert (row["state"], row["jobs"], row["jobs_open"]) == ("succeeded", 34, 0)
        assert await bench.count("job") == 20 * 34
        await second.drain()
        await all_.close()

    play(whole)
