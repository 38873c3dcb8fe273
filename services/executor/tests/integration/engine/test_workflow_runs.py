"""Runs of workflows on a real database: order, policies, fan-out, join, cancel, retry, and death at any point."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from .run_flows import Flows, Scenario, step


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
