"""Workflows on a whole stack: run, killed in the middle, cancelled and repeated; and children of tools."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from jobyard import Client, Workflow
from jobyard.workflow import INDEX, ITEM

from tests.support.yard import Yard, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(600)]


@pytest.fixture
def client(yard: Yard) -> Any:
    with Client(yard.stack.url, api_key=yard.stack.key) as found:
        yield found


def numbers(count: int) -> Workflow:
    flow = Workflow("numbers", input={"first": 1})
    source = flow.step("source", "test.echo", parameters={"value": [flow.given["first"], *range(1, count)]})
    each = flow.map("each", "test.echo", over=source.result, parameters={"value": {"n": ITEM, "place": INDEX}})
    total = flow.step("total", "test.echo", parameters={"value": each.result})
    flow.step("clean", "test.noop", after=[total.on_failure("always")])
    return flow


def test_results_come_through_the_graph(client: Client, yard: Yard) -> None:
    run = client.runs.wait(client.runs.start(numbers(5), input={"first": 7}).id, timeout_s=120)
    assert (run.state, run.progress.jobs_done) == ("succeeded", 8)
    steps = {step.name: step for step in client.runs.steps(run.id)}
    total = steps["total"].job_id
    assert total is not None
    assert yard.get(f"/v1/jobs/{total}/result")["value"] == [{"n": n or 7, "place": n} for n in range(5)]
    assert yard.job(total)["workflow_id"] == run.id
    assert len(yard.get("/v1/jobs", workflow_id=run.id)["data"]) == 8
    again = client.runs.wait(client.runs.retry(run.id, steps=["total"]).id, timeout_s=120)
    assert (again.state, again.origin_id, again.progress.jobs) == ("succeeded", run.id, 2)


def test_a_killed_executor_loses_and_repeats_no_step(client: Client, yard: Yard) -> None:
    stored = client.workflows.put(numbers(1000))
    run = client.runs.start(stored.name)
    until(lambda: client.runs.get(run.id).progress.jobs_done > 100, what="the run is in its middle", timeout_s=120)
    os.kill(yard.stack.pids()["executor"], signal.SIGKILL)
    ended = client.runs.wait(run.id, timeout_s=300)
    assert (ended.state, ended.progress.jobs, ended.progress.jobs_done) == ("succeeded", 1003, 1003)
    assert ended.counts["succeeded"] == 4
    items = list(client.runs.items(run.id, "each"))
    assert [item["index"] for item in items] == list(range(1000))
    assert {item["state"] for item in items} == {"succeeded"}
    assert len({item["job_id"] for item in items}) == 1000


def test_cancel_ends_a_run_with_everything_in_it(client: Client) -> None:
    flow = Workflow("sleepers")
    flow.map("sleep", "test.sleep", over=list(range(40)), parameters={"seconds": 600})
    run = client.runs.start(flow)
    until(lambda: client.runs.get(run.id).progress.jobs == 40, what="its jobs are there", timeout_s=60)
    assert client.runs.cancel(run.id).state in ("cancelling", "cancelled")
    ended = client.runs.wait(run.id, timeout_s=120)
    assert (ended.state, ended.progress.jobs_done) == ("cancelled", 40)


def test_a_tool_has_children(yard: Yard) -> None:
    for variant in ("", ".process", ".command"):
        parent = yard.submit(f"test.children{variant}", {"count": 3})
        yard.until_state(parent["id"], "succeeded", timeout_s=60)
        children = yard.get("/v1/jobs", parent_id=parent["id"])["data"]
        assert len(children) == 3, variant
        values = [yard.get(f"/v1/jobs/{yard.until_state(one['id'], 'succeeded')['id']}/result") for one in children]
        assert sorted(one["value"] for one in values) == [0, 1, 2]
