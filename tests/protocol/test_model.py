"""The protocol under a random walk: whatever happens, in whatever order, every invariant holds after every step.

    JOBYARD_PROTOCOL_STEPS=5000000 JOBYARD_PROTOCOL_SEED=7 pytest tests/protocol -k model -s

walks longer than CI does, from another beginning.
"""

from __future__ import annotations

import os
import time
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.protocol.chance import CHOICES, do, settle_down, walk
from tests.protocol.rules import Rules
from tests.protocol.schedules import SCHEDULES
from tests.protocol.script import Script
from tests.protocol.world import World

STEPS = int(os.environ.get("JOBYARD_PROTOCOL_STEPS", "150000"))
SEED = int(os.environ.get("JOBYARD_PROTOCOL_SEED", "20260101"))
LEAST = 100_000
taken = 0


class Protocol(RuleBasedStateMachine):
    """Single steps that shrink well, and bursts that go far."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(what=st.sampled_from(sorted(set(CHOICES))), chance=st.integers(0, 2**16))
    def one(self, what: str, chance: int) -> None:
        do(self.world, what, Random(chance))

    @rule(chance=st.integers(0, 2**32), count=st.integers(1, 60))
    def many(self, chance: int, count: int) -> None:
        walk(self.world, Random(chance), steps=count)

    def teardown(self) -> None:
        global taken
        settle_down(self.world)
        taken += self.world.steps


@pytest.mark.timeout(max(600, STEPS // 1000))
def test_every_invariant_holds_in_every_history() -> None:
    global taken
    taken, began, number = 0, time.monotonic(), 0
    while taken < STEPS:
        machine = seed(SEED + number)(Protocol)
        number += 1
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=25,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"\n{taken} steps in {time.monotonic() - began:.1f} s, seed {SEED}")
    assert taken >= min(LEAST, STEPS)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_directed_histories_hold_under_the_product_rules(name: str) -> None:
    world = World(Rules())
    SCHEDULES[name](Script(world))
    settle_down(world)
