"""A workflow written in Python is the JSON that the API takes."""

from __future__ import annotations

import pytest
from jobyard import Workflow
from jobyard.workflow import INDEX, ITEM


def test_steps_edges_and_references_become_json() -> None:
    flow = Workflow("nightly", description="d", input={"day": "today"})
    a = flow.step("a", "t.list", parameters={"day": flow.given["day"], "text": f"of {flow.given['day']}"}, timeout_s=5)
    b = flow.map("b", "t.one", over=a.result["names"], parameters={"name": ITEM["x y"], "place": INDEX})
    c = flow.step("c", "t.join", parameters={"all": b.result, "last": b.result[0]["v"]}, files={"in": a.file("r.csv")})
    d = flow.step("d", "t.clean", after=[c.on_failure("always"), a], parameters={"s": c.state, "j": [c.job_id]})
    e, f = flow.step("e", "t.end"), flow.map("f", "t.end", over=[1, 2])
    d >> [e, f]
    assert flow.document == {
        "name": "nightly",
        "description": "d",
        "input": {"day": "today"},
        "steps": [
            {
                "name": "a",
                "tool": "t.list",
                "parameters": {"day": "${input.day}", "text": "of ${input.day}"},
                "timeout_s": 5,
            },
            {
                "name": "b",
                "tool": "t.one",
                "parameters": {"name": '${item["x y"]}', "place": "${index}"},
                "for_each": "${steps.a.result.names}",
            },
            {
                "name": "c",
                "tool": "t.join",
                "parameters": {"all": "${steps.b.result}", "last": "${steps.b.result[0].v}"},
                "files": {"in": "${steps.a.files.r.csv}"},
            },
            {
                "name": "d",
                "tool": "t.clean",
                "parameters": {"s": "${steps.c.state}", "j": ["${steps.c.job_id}"]},
                "after": [{"step": "c", "policy": "always"}, {"step": "a", "policy": "fail"}],
            },
            {"name": "e", "tool": "t.end", "after": [{"step": "d", "policy": "fail"}]},
            {"name": "f", "tool": "t.end", "for_each": [1, 2], "after": [{"step": "d", "policy": "fail"}]},
        ],
    }
    assert flow.graph == {name: flow.document[name] for name in ("steps", "input")}


def test_a_name_is_taken_once_and_a_reference_is_no_list() -> None:
    flow = Workflow("w")
    step = flow.step("a", "t")
    with pytest.raises(ValueError, match="already"):
        flow.step("a", "t")
    with pytest.raises(TypeError, match="map"):
        list(step.result)
