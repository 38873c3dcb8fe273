"""The plan is a function of its seed and meets the bar that a ten-minute run is measured by."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.plan import Fault, Kind, bursts_in, length_s, make_plan, windows
from tests.chaos.stage import SERVICES

SEEDS = range(30)


def planned(seed: int, *, bursts: int = 10) -> list[Fault]:
    return make_plan(seed, bursts=bursts, services=SERVICES, small_disk=True, clocks=["executor-2"])


def test_the_same_seed_is_the_same_plan() -> None:
    assert planned(7) == planned(7) != planned(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_minutes_meet_the_bar(seed: int) -> None:
    counts = Counter(fault.kind for fault in planned(seed, bursts=bursts_in(10)))
    assert counts[Kind.KILL] + counts[Kind.FREEZE] + counts[Kind.FREEZE_ALONE] >= 200
    assert counts[Kind.BACKEND] >= 20
    assert set(counts) == set(Kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_stay_in_their_bursts(seed: int) -> None:
    for fault in planned(seed):
        assert any(start <= fault.at_s and fault.at_s + fault.for_s <= end + 3 for start, end in windows(10)), fault


def test_a_run_ends_after_a_whole_quiet() -> None:
    assert (bursts_in(1.5), bursts_in(10), bursts_in(0.2)) == (1, 10, 1)
    assert length_s(1) == 70
