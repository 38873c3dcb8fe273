from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jobyard_executor.sandbox import bubblewrap, jail, landlock, selftest


@pytest.mark.serial
def test_the_levels_offered_are_those_that_this_machine_can_hold(tmp_path: Path) -> None:
    proof = selftest.prove(cache=tmp_path / "proof.json")
    assert "L0" in proof.levels
    assert ("L1" in proof.levels) == (jail.prlimit_program() is not None), proof.faults
    if landlock.version() >= landlock.SCOPES_SINCE:
        assert "L2" in proof.levels, proof.faults
    else:
        assert "Landlock" in proof.faults["L2"][0]
    if bubblewrap.program() is None:
        assert "bubblewrap" in proof.faults["L3"][0]
    assert proof.took_s < 10
    again = selftest.prove(cache=tmp_path / "proof.json")
    assert (again.cached, again.levels) == (True, proof.levels)


WITHOUT_CONFINEMENT = """
import json
from jobyard_executor.sandbox import jail, selftest
jail.confine = lambda policy: None
print(json.dumps(selftest.attack_all()["L2"]))
"""


def test_a_level_that_lets_an_attack_through_is_not_offered() -> None:
    """The self-test's own mutant: with the confinement taken away, the attacker reads its neighbour's file."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_CONFINEMENT], capture_output=True, check=True, timeout=60)
    faults = json.loads(done.stdout)
    assert "read a neighbour's file: passed" in faults
    assert "new privileges: passed" in faults
