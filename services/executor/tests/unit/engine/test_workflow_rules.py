"""What becomes of a graph, without a database: policies, order of ends, circles, and what a run ends as."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.contracts.workflows import Edge, Graph, Policy, Step
from jobyard_executor.domain.child import ChildRefused, child_id, read_child
from jobyard_executor.domain.step_spec import pinned, step_spec
from jobyard_executor.domain.workflow import (
    ENDED,
    Demand,
    Plan,
    RunState,
    StepRow,
    StepState,
    demanded,
    end_of_run,
    spread,
)
from msgspec import Raw

S = StepState


def graph(*steps: tuple[str, list[tuple[str, Policy]]]) -> Plan:
    return Plan(Graph(tuple(Step(name, "t", after=tuple(Edge(*edge) for edge in after)) for name, after in steps)))


def begun(plan: Plan) -> dict[int, StepRow]:
    return {
        no: StepRow(no, S.WAITING if step.after else S.DUE, pending=len(step.after))
        for no, step in enumerate(plan.steps)
    }


def play(plan: Plan, bad: set[str], *, seed: int = 0, cancel_after: int | None = None) -> tuple[dict[str, S], int]:
    """Run the whole graph in some order; states by name, and how many failures the run counted."""
    dice, rows = random.Random(seed), begun(plan)
    due = [no for no, row in rows.items() if row.state is S.DUE]
    failures = ended = 0
    while due:
        no = due.pop(dice.randrange(len(due)))
        rows[no].state = S.FAILED if plan.steps[no].name in bad else S.SUCCEEDED
        cancelling = cancel_after is not None and ended >= cancel_after
        found = spread(plan, rows, [no], cancelling=cancelling)
        due += found.due
        failures += found.failures
        ended += found.ended
    assert ended == len(rows)
    return {plan.steps[no].name: row.state for no, row in rows.items()}, failures


@pytest.mark.parametrize(
    ("policy", "parent", "wanted"),
    [
        (Policy.FAIL, S.SUCCEEDED, Demand.RUN),
        (Policy.FAIL, S.FAILED, Demand.FAIL),
        (Policy.FAIL, S.CANCELLED, Demand.FAIL),
        (Policy.FAIL, S.EXPIRED, Demand.FAIL),
        (Policy.FAIL, S.SKIPPED, Demand.SKIP),
        (Policy.SKIP, S.FAILED, Demand.SKIP),
        (Policy.SKIP, S.SKIPPED, Demand.SKIP),
        (Policy.CONTINUE, S.FAILED, Demand.RUN),
        (Policy.CONTINUE, S.SKIPPED, Demand.SKIP),
        (Policy.ALWAYS, S.FAILED, Demand.RUN),
        (Policy.ALWAYS, S.SKIPPED, Demand.RUN),
    ],
)
def test_what_an_edge_wants(policy: Policy, parent: S, wanted: Demand) -> None:
    assert demanded(policy, parent) is wanted


def test_the_order_of_ends_never_matters() -> None:
    fail, skip, always = Policy.FAIL, Policy.SKIP, Policy.ALWAYS
    plan = graph(
        ("a", []), ("b", []), ("c", []),
        ("x", [("a", skip), ("b", fail), ("c", always)]), ("y", [("x", Policy.CONTINUE)]), ("z", [("x", fail)]),
    )  # fmt: skip
    outcomes = set()
    for order in permutations(range(3)):
        rows = begun(plan)
        for no in order:
            rows[no].state = S.FAILED if no < 2 else S.SUCCEEDED
            spread(plan, rows, [no], cancelling=False)
        outcomes.add(tuple(rows[no].state for no in range(3, 6)))
    assert outcomes == {(S.FAILED, S.DUE, S.FAILED)}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_graph_ends_whole_and_alike_in_any_order(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 25))
    steps = []
    for n in range(size):
        parents = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=4)) if n else []
        steps.append((f"s{n}", [(f"s{p}", data.draw(st.sampled_from(list(Policy)))) for p in parents]))
    plan = graph(*steps)
    bad = data.draw(st.sets(st.sampled_from([name for name, _ in steps])))
    first = play(plan, bad, seed=1)
    assert first == play(plan, bad, seed=2)
    assert all(state in ENDED for state in first[0].values())
    assert bad or end_of_run(cancelling=False, failures=first[1]) is RunState.SUCCEEDED


def test_a_cancelled_run_begins_nothing_more() -> None:
    plan = graph(("a", []), ("b", [("a", Policy.ALWAYS)]), ("c", [("b", Policy.ALWAYS)]))
    states, _ = play(plan, set(), cancel_after=0)
    assert states == {"a": S.SUCCEEDED, "b": S.CANCELLED, "c": S.CANCELLED}
    assert end_of_run(cancelling=True, failures=1) is RunState.CANCELLED


def test_circles_are_seen() -> None:
    fail = Policy.FAIL
    plan = graph(("a", []), ("b", [("a", fail), ("d", fail)]), ("c", [("b", fail)]), ("d", [("c", fail)]))
    assert plan.circle() == ["b", "c", "d"]
    assert graph(("a", []), ("b", [("a", fail)])).circle() == []


def test_a_long_chain_fails_without_recursion() -> None:
    steps = [("s0", [])] + [(f"s{n}", [(f"s{n - 1}", Policy.FAIL)]) for n in range(1, 10_000)]
    states, failures = play(graph(*steps), {"s0"})
    assert set(states.values()) == {S.FAILED} and failures == 10_000


def test_only_failures_that_nobody_minds_are_forgiven() -> None:
    plan = graph(("a", []), ("b", [("a", Policy.SKIP)]), ("c", []), ("d", [("c", Policy.FAIL)]))
    assert [plan.minded(no) for no in range(4)] == [False, True, True, True]


def tool(version: str, **more: object) -> ToolDefinition:
    return ToolDefinition(
        "t",
        version,
        "",
        "",
        Raw(b"{}"),
        "slow",
        Isolation.ASYNC,
        Level.L0,
        "h",
        **more,  # type: ignore[arg-type]
    )


def test_a_step_is_pinned_to_the_highest_version_that_runs() -> None:
    tools = [tool("1"), tool("2"), tool("10")]
    assert pinned("t", tools, alive=frozenset()) is tools[2]
    assert pinned("t", tools, alive=frozenset({"t@1", "t@2"})) is tools[1]
    assert pinned("t@1", tools, alive=frozenset({"t@2"})) is tools[0]
    assert pinned("t@3", tools, alive=frozenset()) is None and pinned("u", tools, alive=frozenset()) is None


def test_a_step_has_its_tool_s_defaults_where_it_says_nothing() -> None:
    definition = tool("1", timeout_s=60.0, soft_timeout_s=50.0, retry={"max_attempts": 5, "base_s": 2})
    now = datetime(2026, 1, 1, tzinfo=UTC)
    plain = step_spec(Step("a", "t"), definition, parameters=Raw(b"{}"), files={}, now=now)
    assert (plain.queue, plain.timeout_s, plain.soft_timeout_s, plain.priority) == ("slow", 60.0, 50.0, 5)
    assert (plain.retry.max_attempts, plain.retry.base_s, plain.run_at) == (5, 2, None)
    said = Step("a", "t", queue="q", timeout_s=10.0, delay_s=1.5, retry={"max_attempts": 1}, priority=1)
    spec = step_spec(said, definition, parameters=Raw(b"{}"), files={}, now=now)
    assert (spec.queue, spec.timeout_s, spec.soft_timeout_s, spec.priority) == ("q", 10.0, None, 1)
    assert (spec.retry.max_attempts, spec.retry.base_s) == (1, 2)
    assert spec.run_at is not None and spec.run_at.isoformat() == "2026-01-01T00:00:01.500000+00:00"


def test_children_are_checked_and_named_without_their_attempt() -> None:
    parent = "job_0001M8297XRPEQY90NFY4QFJTAMG"
    first = child_id(parent, "#0", tenant="t")
    assert first == child_id(parent, "#0", tenant="t") and first.startswith("job_007")
    assert len({first, child_id(parent, "#1", tenant="t"), child_id(parent, "#0", tenant="u")}) == 3
    assert read_child(b'{"tool": "a", "priority": 3}').priority == 3
    for body in (
        b"", b"[]", b"{}", b'{"tool": 1}', b'{"tool": "a", "depends_on": []}', b'{"tool": "a", "parameters": 3}',
        b'{"tool": "a", "priority": 11}', b'{"tool": "' + b"a" * 300_000 + b'"}', b"[" * 100_000,
    ):  # fmt: skip
        with pytest.raises(ChildRefused):
            read_child(body)
