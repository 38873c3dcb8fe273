"""Claims are large for one tenant and small while several share the slots."""

from __future__ import annotations

from jobyard_executor.domain.lane import Lane
from jobyard_executor.domain.portion import SHARED, SHARED_S, Portion

FREE = {"async": 500, "process": 4}


def lane(tenant: str, fairness: str = "") -> Lane:
    return Lane("default", tenant, fairness, "async", "L0", "t", "1", "")


def test_one_alone_gets_all_free_slots() -> None:
    portion = Portion()
    for now in range(100):
        assert portion.of(FREE, [lane("a"), lane("a")], now=now) == FREE


def test_two_at_once_share_for_a_while_after_the_last_time() -> None:
    portion = Portion()
    small = {"async": SHARED, "process": 4}
    assert portion.of(FREE, [lane("a"), lane("b")], now=0.0) == small
    assert portion.of(FREE, [lane("a")], now=SHARED_S - 0.1) == small
    assert portion.of(FREE, [lane("a")], now=SHARED_S + 0.1) == FREE


def test_two_in_turn_share_as_well() -> None:
    portion = Portion()
    assert portion.of(FREE, [lane("a")], now=0.0) == FREE
    assert portion.of(FREE, [lane("b")], now=1.0)["async"] == SHARED
    assert portion.of(FREE, [lane("a", "vip")], now=20.0) == FREE


def test_fairness_keys_of_a_tenant_share_and_its_concurrency_keys_do_not() -> None:
    assert Portion().of(FREE, [lane("a", "x"), lane("a", "y")], now=0.0)["async"] == SHARED
    keyed = [Lane("default", "a", "", "async", "L0", "t", "1", f"k{n}") for n in range(9)]
    assert Portion().of(FREE, keyed, now=0.0) == FREE


def test_an_empty_walk_changes_nothing() -> None:
    portion = Portion()
    assert portion.of(FREE, [], now=0.0) == FREE
    assert portion.of(FREE, [lane("a")], now=0.1) == FREE
