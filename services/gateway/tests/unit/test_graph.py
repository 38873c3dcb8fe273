"""Graphs at the door: what is right goes on with every edge written out, what is wrong is told at once."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from jobyard_common.contracts.tools import FileSlot, Isolation, Level, ToolDefinition
from jobyard_common.contracts.workflows import Edge, Policy
from jobyard_gateway.domain.graph import Read, read_graph
from jobyard_gateway.domain.tools import Registry

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "names": {"type": "array", "items": {"type": "string"}}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    found.define(_tool("plain", {}))
    found.define(_tool("strict", SCHEMA, slots={"data": FileSlot()}))
    return found


def _tool(name: str, schema: dict[str, Any], **more: Any) -> ToolDefinition:
    text = msgspec.Raw(json.dumps(schema).encode())
    return ToolDefinition(name, "1", "", "", text, "default", Isolation.ASYNC, Level.L0, "h", **more)


def read(registry: Registry, tree: Any) -> tuple[Read | None, dict[str, str]]:
    found, faults = read_graph(json.dumps(tree).encode(), tree, registry)
    return found, {fault.pointer: fault.message for fault in faults}


def step(name: str = "a", tool: str = "plain", **more: Any) -> dict[str, Any]:
    return {"name": name, "tool": tool, **more}


def test_a_reference_is_an_edge(registry: Registry) -> None:
    steps = [
        step("a"),
        step("b", after=["a", {"step": "c", "policy": "always"}], parameters={"x": "${steps.d.result}"}),
        step("c"),
        step("d", for_each="${steps.c.result.list}", parameters={"n": "${item}"}),
    ]
    found, faults = read(registry, {"steps": steps})
    assert faults == {} and found is not None
    assert found.graph.steps[1].edges == (Edge("a"), Edge("c", Policy.ALWAYS), Edge("d"))
    assert found.graph.steps[3].edges == (Edge("c"),)


@pytest.mark.parametrize(
    ("steps", "pointers"),
    [
        ([step("1a")], {"/steps/0/name"}),
        ([step("a"), step("a")], {"/steps/1/name"}),
        ([step(tool="gone")], {"/steps/0/tool"}),
        ([step(after=["b"])], {"/steps/0/after/0"}),
        ([step(after=["a"])], {"/steps/0/after/0"}),
        ([step(), step("b", after=["a", "a"])], {"/steps/1/after/1"}),
        ([step(), step("b", after=[{"step": "a", "policy": "maybe"}])], {"/steps/1/after/0/policy"}),
        ([step(after=["b"]), step("b", after=["a"])], {"/steps"}),
        ([step(parameters={"x": "${steps.b.result}"}), step("b", after=["a"])], {"/steps"}),
        ([step(parameters={"x": ["${nope}"]})], {"/steps/0/parameters/x/0"}),
        ([step(parameters={"x": "${steps.gone.result}"})], {"/steps/0/parameters/x"}),
        ([step(parameters={"x": "${steps.a.result}"})], {"/steps/0/parameters/x"}),
        ([step(parameters={"x": "${item}"})], {"/steps/0/parameters/x"}),
        ([step(for_each="${item}")], {"/steps/0/for_each"}),
        ([step(for_each="a ${input.x}")], {"/steps/0/for_each"}),
        ([step(for_each={"no": "list"})], {"/steps/0/for_each"}),
        ([step(for_each=list(range(10_001)))], {"/steps/0/for_each"}),
        ([step(parameters=[])], {"/steps/0/parameters"}),
        ([step(unknown=1, priority=11)], {"/steps/0/unknown", "/steps/0/priority"}),
        ([step(timeout_s=1, soft_timeout_s=2)], {"/steps/0/soft_timeout_s"}),
        ([step(retry={"max_attempts": 0})], {"/steps/0/retry/max_attempts"}),
        (["a", step()], {"/steps/0"}),
        ([], {"/steps"}),
        ([step(f"s{n}") for n in range(10_001)], {"/steps"}),
        ([step(parameters={"x": "${" * 200})], {"/steps/0/parameters/x"}),
    ],
)
def test_hostile_graphs_are_refused_at_their_place(registry: Registry, steps: Any, pointers: set[str]) -> None:
    found, faults = read(registry, {"steps": steps})
    assert found is None and set(faults) == pointers


def test_parameters_are_checked_as_far_as_they_are_known(registry: Registry) -> None:
    good = step(
        "s", "strict", parameters={"n": "${input.n}", "names": ["x", "${input.name}"]}, files={"data": "${input.f}"}
    )
    found, faults = read(registry, {"steps": [good]})
    assert faults == {} and found is not None
    bad = step("s", "strict", parameters={"names": [1, "${input.name}"], "more": "${input.n}"}, files={"data": "x"})
    assert set(read(registry, {"steps": [bad]})[1]) == {
        "/steps/0/parameters/n",
        "/steps/0/parameters/more",
        "/steps/0/parameters/names/0",
        "/steps/0/files/data",
    }


def test_a_graph_of_ten_thousand_steps_is_read_and_a_huge_circle_is_named_briefly(registry: Registry) -> None:
    chain = [step(f"s{n}", after=[f"s{n - 1}"] if n else []) for n in range(10_000)]
    found, faults = read(registry, {"steps": chain})
    assert faults == {} and found is not None and len(msgspec.json.encode(found.graph)) < 900_000
    chain[0]["after"] = ["s9999"]
    assert len(read(registry, {"steps": chain})[1]["/steps"]) < 300
