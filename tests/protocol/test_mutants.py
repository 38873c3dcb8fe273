"""A suite that cannot fail proves nothing: each rule is taken away once, and something must break."""

from __future__ import annotations

from random import Random

import pytest

from tests.protocol.chance import settle_down, walk
from tests.protocol.database import Broken
from tests.protocol.mutants import MUTANTS, Mutant
from tests.protocol.schedules import SCHEDULES
from tests.protocol.script import Script
from tests.protocol.world import World

BUDGET = 600_000
WALK = 150
found: dict[str, tuple[str, int, str]] = {}


def hunt(mutant: Mutant) -> tuple[Broken | None, int]:
    """The first invariant that breaks, and the steps until then."""
    steps, number = 0, 0
    while steps < BUDGET:
        world = World(mutant.rules())
        try:
            if mutant.schedule is not None:
                SCHEDULES[mutant.schedule](Script(world))
            else:
                walk(world, Random(number), steps=WALK)
            settle_down(world)
        except Broken as broken:
            return broken, steps + world.steps
        if mutant.schedule is not None:
            break
        steps += world.steps
        number += 1
    return None, steps


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_protocol_without_this_rule_breaks(mutant: Mutant) -> None:
    broken, steps = hunt(mutant)
    way = f"schedule: {mutant.schedule}" if mutant.schedule else "chance"
    print(f"\n| {mutant.name} | {mutant.source} | {broken.name if broken else 'SURVIVED'} | {steps} | {way} |")
    assert broken is not None, f"{mutant.name} ({mutant.source}) survived {steps} steps"


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.schedule for mutant in MUTANTS} - {None} == set(SCHEDULES)
