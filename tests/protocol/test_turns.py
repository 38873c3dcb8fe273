"""Nobody starves, no limit is exceeded, and a claim costs the same however many wait; without a rule that breaks."""

from __future__ import annotations

import pytest

from tests.protocol.database import Broken
from tests.protocol.turns import (
    LONGEST_WAIT,
    MOST_PROBES,
    Careless,
    Rooted,
    Sleepers,
    Turns,
    limitless,
    run,
    whole_lanes,
)

STEPS = 400
MUTANTS = {
    "turns are charged to nobody": (Turns(tree=Careless), "I12"),
    "every walk begins at the beginning": (Turns(cursors=Rooted), "I12"),
    "a plan does not look at the room": (Turns(plan=limitless), "I12"),
    "a claim looks through all that wait": (Turns(look=whole_lanes), "A15"),
    "who slept has saved up turns": (Turns(tree=Sleepers), "I12"),
}


@pytest.mark.parametrize("seed", range(3))
def test_everybody_gets_a_turn_under_a_flood(seed: int) -> None:
    yard = run(Turns(), steps=STEPS, seed=seed)
    assert 1 < yard.longest <= LONGEST_WAIT
    assert 0 < yard.probes <= MOST_PROBES


@pytest.mark.parametrize("name", MUTANTS)
def test_without_this_rule_somebody_starves_or_pays(name: str) -> None:
    rules, broken = MUTANTS[name]
    with pytest.raises(Broken) as found:
        for seed in range(20):
            run(rules, steps=STEPS, seed=seed)
    assert found.value.name == broken
