"""Lanes, fair turns, limits within a plan, queues of an executor, flow through a queue: the pure part of claims."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts.jobs import JobSpec
from jobyard_executor.domain import ageing, work_queues
from jobyard_executor.domain.fairness import FairTree, Weights
from jobyard_executor.domain.flow import SLICES, FlowMeter
from jobyard_executor.domain.lane import AFTER, AFTER_QUEUE, SEPARATOR, Lane, flow_of, lane_of, parse, runnable
from jobyard_executor.domain.plan import Plan, Waiting, plan
from jobyard_executor.domain.work_queues import WorkQueues, WorkQueuesInvalid

NOW = datetime(2030, 1, 1, tzinfo=UTC)
keys = st.text(min_size=0, max_size=20).filter(lambda text: "\0" not in text)


def spec(**changes: object) -> JobSpec:
    return msgspec.structs.replace(JobSpec("a", "1", "async", "L1", 60.0), **changes)


def waiting(*, tenant: str = "t", age_s: float = 0.0, **changes: object) -> Waiting:
    text = lane_of(spec(**changes), tenant=tenant)
    return Waiting(text, parse(text), NOW - timedelta(seconds=age_s))


def made(
    rows: list[Waiting], *, free: int = 10, room: dict[str, int] | None = None, tree: FairTree | None = None
) -> Plan:
    return plan(rows, free={"async": free}, room=room or {}, tree=tree or FairTree())


def by_tenant(found: Plan) -> dict[str, int]:
    """Turns of each tenant; shares are of groups, whose lanes have one tenant."""
    tenants = {order.group: parse(order.lane).tenant for order in found.orders}
    turns: Counter[str] = Counter()
    for group, tenant in tenants.items():
        turns[tenant] += found.shares[group]
    return dict(turns)


@given(keys, keys)
def test_a_lane_survives_its_text(fairness: str, concurrency: str) -> None:
    given_spec = spec(queue="my-queue", fairness_key=fairness, concurrency_key=concurrency)
    text = lane_of(given_spec, tenant="tnt_1")
    assert parse(text) == Lane("my-queue", "tnt_1", fairness, "async", "L1", "a", "1", concurrency)


@given(keys, keys, keys)
def test_all_lanes_of_a_flow_lie_together(one: str, other: str, concurrency: str) -> None:
    mine = lane_of(spec(fairness_key=one, concurrency_key=concurrency), tenant="t")
    theirs = lane_of(spec(fairness_key=other), tenant="t")
    flow = flow_of(mine)
    assert (flow + SEPARATOR).encode() < mine.encode() < (flow + AFTER).encode()
    inside = (flow + SEPARATOR).encode() < theirs.encode() < (flow + AFTER).encode()
    assert inside == (one == other)
    assert b"default/" < mine.encode() < b"default" + AFTER_QUEUE.encode()


def test_a_worker_runs_what_it_knows_at_the_level_it_proved() -> None:
    lane = waiting().lane
    tools = frozenset({("a", "1")})
    assert runnable(lane, tools=tools, levels=frozenset({"L2"}))
    assert not runnable(lane, tools=tools, levels=frozenset({"L0"}))
    assert not runnable(lane, tools=frozenset({("a", "2")}), levels=frozenset({"L2"}))


def test_free_slots_are_shared_among_those_who_wait() -> None:
    assert by_tenant(made([waiting(tenant="one"), waiting(tenant="two")])) == {"one": 5, "two": 5}


def test_a_tenant_gains_nothing_by_many_keys_and_queues() -> None:
    flood = [waiting(tenant="one", fairness_key=f"f{n}", concurrency_key=f"c{n}") for n in range(30)]
    flood += [waiting(tenant="one", queue=f"q{n}") for n in range(10)]
    assert by_tenant(made([*flood, waiting(tenant="two")])) == {"one": 5, "two": 5}


def test_weights_are_followed_at_every_step() -> None:
    tree = FairTree()
    tree.weights = Weights(tenants={"one": 3.0}, keys={("two", "k"): 4.0}, queues={"fast": 2.0})
    assert by_tenant(made([waiting(tenant="one"), waiting(tenant="two")], free=8, tree=tree)) == {"one": 6, "two": 2}
    found = made([waiting(tenant="two", fairness_key="k"), waiting(tenant="two", fairness_key="j")], free=10, tree=tree)
    assert sorted(found.shares) == [2, 8]
    found = made([waiting(queue="fast"), waiting(queue="slow")], free=9, tree=tree)
    assert sorted(found.shares) == [3, 6]


def test_who_was_served_less_comes_first_and_a_sleeper_saves_nothing_up() -> None:
    tree = FairTree()
    both = [waiting(tenant="one"), waiting(tenant="two")]
    tree.charge({("one", "", "default"): 100})
    assert by_tenant(made(both, tree=tree)) == {"one": 5, "two": 5}
    tree.charge({("one", "", "default"): 4, ("two", "", "default"): 1})
    assert by_tenant(made(both, free=5, tree=tree)) == {"one": 1, "two": 4}


def test_with_one_slot_at_a_time_turns_alternate() -> None:
    tree = FairTree()
    rows = [waiting(tenant=name) for name in ("one", "two", "three")]
    turns = []
    for _ in range(9):
        found = made(rows, free=1, tree=tree)
        lane = parse(found.orders[0].lane)
        turns.append(lane.tenant)
        tree.charge({lane.path: 1})
    assert all(sorted(turns[n : n + 3]) == ["one", "three", "two"] for n in (0, 3, 6))


def test_what_is_remembered_of_turns_is_bounded() -> None:
    tree = FairTree()
    for number in range(50_000):
        tree.charge({(f"t{number}", "", "default"): 1})
    assert len(tree._used) <= 20_002
    assert len(tree._floor) <= 20_002


def test_a_limit_bounds_all_its_lanes_together() -> None:
    rows = [waiting(concurrency_key="k", tool="a"), waiting(concurrency_key="k", tool="b")]
    assert sum(order.quota for order in made(rows, room={"key:t/k": 3}).orders) == 3


def test_room_under_a_shared_limit_goes_round() -> None:
    tree = FairTree()
    rows = [waiting(tenant="one", age_s=100), waiting(tenant="two")]
    turns = []
    for _ in range(6):
        (order,) = made(rows, room={"tool:a": 1}, tree=tree).orders
        lane = parse(order.lane)
        turns.append(lane.tenant)
        tree.charge({lane.path: 1})
    assert all(sorted(turns[n : n + 2]) == ["one", "two"] for n in (0, 2, 4))


def test_a_turn_that_a_limit_forbids_goes_to_the_next() -> None:
    rows = [waiting(tenant="one", concurrency_key="k"), waiting(tenant="two")]
    assert by_tenant(made(rows, room={"key:one/k": 1})) == {"one": 1, "two": 9}
    assert by_tenant(made(rows, room={"key:one/k": 0})) == {"two": 10}


def test_room_goes_to_the_oldest_and_none_is_kept_for_a_lane_behind_an_older_one() -> None:
    old, young = waiting(concurrency_key="old", age_s=60), waiting(concurrency_key="young")
    (order,) = made([young, old], room={"tool:a": 1, "key:t/old": 5, "key:t/young": 5}).orders
    assert parse(order.lane).concurrency == "old"
    found = made([waiting(tool="b", age_s=30), young], room={"tool:a": 1})
    assert [parse(order.lane).tool for order in found.orders] == ["b"]
    found = made([waiting(tool="b"), waiting(tool="a", age_s=30)], room={"tool:a": 1})
    assert {parse(order.lane).tool: order.quota for order in found.orders} == {"b": 10, "a": 1}


def test_a_pool_bounds_its_queue_only() -> None:
    found = made([waiting(queue="bulk"), waiting(queue="default")], room={"pool:bulk": 2})
    assert {parse(order.lane).queue: order.quota for order in found.orders} == {"bulk": 2, "default": 8}


def test_no_free_slot_of_an_isolation_means_no_order() -> None:
    assert plan([waiting()], free={"process": 3}, room={}, tree=FairTree()).orders == ()


limits = st.dictionaries(
    st.sampled_from(["queue:default", "tool:a", "tool:b", "tenant:one", "key:one/k"]), st.integers(0, 4)
)
lanes = st.lists(
    st.builds(
        waiting,
        tenant=st.sampled_from(["one", "two"]),
        tool=st.sampled_from(["a", "b"]),
        fairness_key=st.sampled_from(["", "f"]),
        concurrency_key=st.sampled_from(["", "k"]),
        age_s=st.integers(0, 9),
    ),
    max_size=12,
    unique_by=lambda row: row.text,
)


@given(lanes, limits, st.integers(0, 12))
def test_no_plan_exceeds_a_limit_or_the_free_slots(rows: list[Waiting], room: dict[str, int], free: int) -> None:
    found = made(rows, free=free, room=room)
    assert sum(found.shares) <= free
    for key, allowed in room.items():
        assert sum(order.quota for order in found.orders if key in parse(order.lane).limits()) <= allowed
    if not room and rows:
        assert sum(found.shares) == free


@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 7200))
def test_age_beats_priority_within_its_bound(early: int, late: int, after_s: int) -> None:
    first = ageing.sort_at(NOW, priority=early)
    second = ageing.sort_at(NOW + timedelta(seconds=after_s), priority=late)
    if timedelta(seconds=after_s) > 9 * ageing.STEP:
        assert first < second
    if early > late:
        assert first < second
    assert abs(ageing.queued_at(first) - NOW) < timedelta(microseconds=10)


def test_the_queues_of_an_executor() -> None:
    assert work_queues.parse(["fast:50", "bulk"]) == WorkQueues(frozenset({"fast", "bulk"}), {"fast": 50})
    assert work_queues.parse(["bulk:4", "*"]) == WorkQueues(None, {"bulk": 4})
    assert work_queues.parse(["bulk:4", "*"]).told() == ["bulk:4", "*"]
    assert not work_queues.parse(["fast"]).serves("bulk")


@pytest.mark.parametrize(
    "text", ["", "Fast", "a:0", "a:x", "a:-1", "*:3", "a,a:2", "a b", "a:1000000", "a:٣", "a:", "/"]
)
def test_lists_of_queues_that_make_no_sense(text: str) -> None:
    with pytest.raises(WorkQueuesInvalid):
        work_queues.parse([part for part in text.split(",") if part])


def test_flow_is_of_the_last_minute() -> None:
    meter = FlowMeter()
    meter.came("q")
    meter.went({("t", "", "q"): 2})
    assert meter.close_slice() == [("q", 1, 2)]
    for _ in range(SLICES - 1):
        assert meter.close_slice() == [("q", 1, 2)]
    assert meter.close_slice() == []
