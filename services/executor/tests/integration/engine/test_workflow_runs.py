"""Runs of workflows on a real database: order, policies, fan-out, join, cancel, retry, and death at any point."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from jobyard_common.contracts import workflows as flow
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.telemetry.context import new_trace
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.handlers.advance_runs import advance_runs
from jobyard_executor.handlers.go_on import go_on
from jobyard_executor.handlers.sweep_runs import forget_runs, sweep_runs
from jobyard_executor.inbound.run_pump import RunPump
from jobyard_executor.testing.runner import ScriptedRunner, ended

TENANT = "tnt_test"
ACTOR = Actor(ActorKind.KEY, "key_1")
KINDS = {flow.StartRun: flow.START_RUN, flow.CancelRun: flow.CANCEL_RUN, flow.RetryRun: flow.RETRY_RUN}
Play = Callable[[Callable[[Any], Awaitable[None]]], None]


def echo(assignment: Assignment) -> Outcome:
    """The value of every tool is its parameters; `fail` makes it fail."""
    parameters = json.loads(bytes(assignment.parameters))
    if parameters.get("fail"):
        return ended(assignment, Verdict.ERROR, failure=Failure("broken", "It broke.", retryable=False))
    return ended(assignment, value=bytes(assignment.parameters))


def step(name: str, *after: str | tuple[str, str], **more: Any) -> dict[str, Any]:
    edges = [{"step": a} if isinstance(a, str) else {"step": a[0], "policy": a[1]} for a in after]
    return {"name": name, "tool": "test.noop", "after": edges, **more}


class Flows:
    """Runs on a bench."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        bench.engine.advance_runs = advance_runs

    async def open(self, *, pump: bool = True) -> Flows:
        definition = ToolDefinition(
            "test.noop",
            "1",
            "",
            "",
            msgspec.Raw(b"{}"),
            "default",
            Isolation.ASYNC,
            Level.L0,
            "h",
            retry={"max_attempts": 1},
        )
        await self.bench.pool.execute(
            "UPDATE tool_version SET definition = $1 WHERE name = 'test.noop'", msgspec.json.encode(definition).decode()
        )
        if pump:
            self.pump = RunPump(self.bench.engine, self.bench.pool)
            self.bench.engine.wake_runs = self.pump.wake
            await self.pump.start()
        return self

    async def close(self) -> None:
        await self.pump.drain()

    async def apply(self, *commands: Any) -> list[Refused]:
        records = []
        for command in commands:
            envelope = new_envelope(
                KINDS[type(command)],
                source="test",
                subject=command.run_id,
                correlation_id="corr-1",
                traceparent=new_trace(sampled=False).format(),
            )
            value = msgspec.json.encode(command)
            records.append(Inbound("jobs.commands", 0, 0, 0, command.run_id.encode(), value, headers_of(envelope)))
        async with self.bench.pool.acquire() as connection, connection.transaction():
            refused = await self.bench.ingest.apply(connection, records)
        self.bench.ingest.after_commit()
        return list(refused)

    def command(self, steps: list[dict[str, Any]], given: Any = None, **more: Any) -> flow.StartRun:
        return flow.StartRun(
            new_id("cmd"),
            new_id("wfr"),
            TENANT,
            ACTOR,
            self.bench.clock.now(),
            graph=msgspec.Raw(json.dumps({"steps": steps}).encode()),
            input=msgspec.Raw(json.dumps(given or {}).encode()),
            **more,
        )

    async def start(self, steps: list[dict[str, Any]], given: Any = None) -> str:
        command = self.command(steps, given)
        assert await self.apply(command) == []
        return command.run_id

    async def run(self, run_id: str) -> Any:
        return await self.bench.pool.fetchrow("SELECT * FROM workflow_run WHERE run_id = $1", run_id)

    async def until_ended(self, run_id: str, *, timeout_s: float = 30.0) -> Any:
        async def probe() -> Any:
            row = await self.run(run_id)
            return row if row["finished_at"] is not None else None

        return await eventually(probe, what=f"{run_id} has ended", timeout_s=timeout_s, every_s=0.02)

    async def steps(self, run_id: str) -> dict[str, Any]:
        graph = json.loads((await self.run(run_id))["graph"])
        rows = await self.bench.pool.fetch("SELECT * FROM workflow_step WHERE run_id = $1 ORDER BY no", run_id)
        return {graph["steps"][row["no"]]["name"]: row for row in rows}

    async def states(self, run_id: str) -> dict[str, str]:
        return {name: row["state"] for name, row in (await self.steps(run_id)).items()}

    async def value(self, run_id: str, name: str) -> Any:
        job_id = (await self.steps(run_id))[name]["job_id"]
        return json.loads(await self.bench.pool.fetchval("SELECT value FROM result WHERE job_id = $1", job_id))


@pytest.fixture
def flows(play: Play) -> Callable[[Callable[[Flows], Awaitable[None]]], None]:
    """Runs a scenario with a pump and a worker that echoes."""

    def run(scenario: Callable[[Flows], Awaitable[None]]) -> None:
        async def whole(bench: Any) -> None:
            found = await Flows(bench).open()
            await bench.work(ScriptedRunner(echo))
            try:
                await scenario(found)
            finally:
                await found.close()

        play(whole)

    return run


Scenario = Callable[[Callable[[Flows], Awaitable[None]]], None]


def test_results_flow_from_step_to_step(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        run_id = await all_.start(
            [
                step("a", parameters={"x": "${input.start}", "big": 123456789012345678901234567890}),
                step("b", "a", parameters={"y": "${steps.a.result.x.list[1]}", "text": "x=${steps.a.result.big}!"}),
                step("c", "a", parameters={"whole": "${steps.a.result.x}", "plain": "$${input}"}),
                step("d", "b", "c", parameters={"s": "${steps.b.state}", "y": "${steps.b.result.y}"}),
            ],
            {"start": {"list": [1, {"deep": True}]}},
        )
        row = await all_.until_ended(run_id)
        assert (row["state"], row["steps_open"], row["jobs"], row["jobs_open"]) == ("succeeded", 0, 4, 0)
        assert await all_.value(run_id, "b") == {"y": {"deep": True}, "text": "x=123456789012345678901234567890!"}
        assert await all_.value(run_id, "c") == {"whole": {"list": [1, {"deep": True}]}, "plain": "${input}"}
        assert await all_.value(run_id, "d") == {"s": "succeeded", "y": {"deep": True}}
        job = await all_.bench.job((await all_.steps(run_id))["d"]["job_id"])
        assert job.place == f"{run_id}:3:"
        events = await all_.bench.events(job.job_id)
        assert events[-1]["job"]["workflow_id"] == run_id

    flows(scenario)


def test_each_edge_says_what_a_failure_means(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        run_id = await all_.start(
            [
                step("bad", parameters={"fail": True}),
                step("fails", "bad"),
                step("fails_too", "fails"),
                step("skipped", ("bad", "skip")),
                step("skipped_too", "skipped"),
                step("goes_on", ("bad", "continue"), parameters={"seen": "${steps.bad.result.x}"}),
                step("not_after_a_skip", ("skipped", "continue")),
                step("always", ("skipped_too", "always"), ("fails_too", "always")),
                step("strongest", ("bad", "skip"), ("fails", "fail"), ("always", "always")),
            ]
        )
        row = await all_.until_ended(run_id)
        assert row["state"] == "failed"
        assert await all_.states(run_id) == {
            "bad": "failed",
            "fails": "failed",
            "fails_too": "failed",
            "skipped": "skipped",
            "skipped_too": "skipped",
            "goes_on": "succeeded",
            "not_after_a_skip": "skipped",
            "always": "succeeded",
            "strongest": "failed",
        }
        assert await all_.value(run_id, "goes_on") == {"seen": None}

    flows(scenario)


def test_a_failure_that_is_reckoned_with_fails_no_run(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        run_id = await all_.start([step("bad", parameters={"fail": True}), step("after", ("bad", "continue"))])
        assert (await all_.until_ended(run_id))["state"] == "succeeded"

    flows(scenario)


def test_fan_out_and_ordered_join(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        run_id = await all_.start(
            [
                step("list", parameters={"rows": list(range(700))}),
                step(
                    "each", "list", for_each="${steps.list.result.rows}", parameters={"n": "${item}", "i": "${index}"}
                ),
                step("one", "each", parameters={"last": "${steps.each.result[699].n}"}),
                step("join", "each", parameters={"all": "${steps.each.result}", "count": 1}),
                step("nothing", for_each=[]),
                step("after_nothing", "nothing", parameters={"none": "${steps.nothing.result}"}),
            ]
        )
        row = await all_.until_ended(run_id)
        assert (row["state"], row["jobs"], row["jobs_open"]) == ("succeeded", 704, 0)
        joined = (await all_.value(run_id, "join"))["all"]
        assert joined == [{"n": n, "i": n} for n in range(700)]
        assert await all_.value(run_id, "one") == {"last": 699}
        assert await all_.value(run_id, "after_nothing") == {"none": []}

    flows(scenario)


def test_a_fan_out_with_failures(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        run_id = await all_.start(
            [
                step("each", for_each=[False, True, False], parameters={"fail": "${item}"}),
                step("join", ("each", "continue"), parameters={"all": "${steps.each.result}"}),
                step("never", "each"),
            ]
        )
        assert (await all_.until_ended(run_id))["state"] == "failed"
        assert await all_.value(run_id, "join") == {"all": [{"fail": False}, None, {"fail": False}]}
        assert (await all_.states(run_id))["never"] == "failed"

    flows(scenario)


def test_what_cannot_be_resolved_fails_its_step_and_says_why(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        run_id = await all_.start(
            [
                step("a", parameters={"deep": "x" * 200_000}),
                step("missing", "a", parameters={"x": "${steps.a.result.nope}"}),
                step("no_list", "a", for_each="${steps.a.result}"),
                step("too_large", "a", parameters={"x": "${steps.a.result.deep}", "y": "${steps.a.result.deep}"}),
                step("no_file", "a", files={"data": "${steps.a.result.deep}"}),
                {**step("no_tool", "a"), "tool": "test.unheard_of"},
                step("item", for_each=[{}], parameters={"x": "${item.x}"}),
                step("last", ("missing", "always"), ("item", "always")),
            ]
        )
        assert (await all_.until_ended(run_id))["state"] == "failed"
        steps = await all_.steps(run_id)
        codes = {name: json.loads(row["error"])["code"] for name, row in steps.items() if row["error"]}
        assert codes == {
            "missing": "unresolved_reference",
            "no_list": "no_list",
            "too_large": "parameters_too_large",
            "no_file": "no_file",
            "no_tool": "unknown_tool",
        }
        assert (steps["item"]["state"], steps["last"]["state"]) == ("failed", "succeeded")
        item = await all_.bench.pool.fetchrow("SELECT * FROM workflow_item WHERE run_id = $1 AND no = 6", run_id)
        assert (item["state"], json.loads(item["error"])["code"]) == ("failed", "unresolved_reference")

    flows(scenario)


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([step("a", "b"), step("b", "a")], "malformed_graph"),
        ([step("a", "nobody")], "malformed_graph"),
        ([step("a", parameters={"x": "${input.gone}"})], "input_missing"),
        ([{"no": "step"}], "malformed_graph"),
    ],
)
def test_a_run_that_cannot_begin_says_why(flows: Scenario, steps: list[dict[str, Any]], code: str) -> None:
    async def scenario(all_: Flows) -> None:
        row = await all_.until_ended(await all_.start(steps))
        assert (row["state"], json.loads(row["error"])["code"]) == ("failed", code)

    flows(scenario)


def test_a_start_is_taken_in_once_and_a_key_belongs_to_one_body(flows: Scenario) -> None:
    async def scenario(all_: Flows) -> None:
        command = all_.command([step("a")], keyed=True, body_hash="h1")
        other = msgspec.structs.replace(command, body_hash="h2")
        assert await all_.apply(command, command) == []
        assert [refusal.reason for refusal in await all_.apply(other)] == ["idempotency_conflict"]
        await all_.until_ended(command.run_id)
        assert await all_.apply(command) == []
        assert await all_.bench.count("job") == 1

    flows(scenario)


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
