from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobyard_executor.sandbox import attacks, bubblewrap, jail, landlock, selftest, users

IDS = (500_000, 256 * users.BLOCK)


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
    else:
        assert "delegated" in proof.faults["L4"][0]
    assert proof.took_s < 10
    again = selftest.prove(cache=tmp_path / "proof.json")
    assert (again.cached, again.levels) == (True, proof.levels)


@pytest.mark.serial
def test_users_of_their_own_are_proven_where_root_may_lend_them(tmp_path: Path) -> None:
    proof = selftest.prove(cache=tmp_path / "proof.json", ids=IDS)
    try:
        users.lease(*IDS).end()
    except users.NoUsers as refusal:
        assert proof.own_users == frozenset()
        assert proof.faults[attacks.own_user("L1")] == [str(refusal)]
    else:
        assert proof.own_users == proof.levels - {"L0"}, proof.faults
    assert selftest.prove(cache=tmp_path / "proof.json", ids=IDS).own_users == proof.own_users
    assert not selftest.prove(cache=tmp_path / "proof.json").cached


WITHOUT_USERS = """
import json
from jobyard_executor.sandbox import attacks, users
users.become = lambda user: None
print(json.dumps(attacks.attack_all((500000, 65536)).get("L1 with users of its own")))
"""


def test_users_that_the_kernel_does_not_count_are_not_offered() -> None:
    """Also a mutant: the attacker keeps our user. Root is exempt from the count, anybody else cannot lend at all."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_USERS], capture_output=True, check=True, timeout=60)
    faults = json.loads(done.stdout)
    assert ("fork bomb: passed" if os.geteuid() == 0 else "the executor does not run as root") in faults


WITHOUT_CONFINEMENT = """
import json
from jobyard_executor.sandbox import attacks, jail
jail.confine = lambda policy: None
print(json.dumps(attacks.attack_all()["L2"]))
"""


def test_a_level_that_lets_an_attack_through_is_not_offered() -> None:
    """The self-test's own mutant: with the confinement taken away, the attacker reads its neighbour's file."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_CONFINEMENT], capture_output=True, check=True, timeout=60)
    faults = json.loads(done.stdout)
    assert "read a neighbour's file: passed" in faults
    assert "new privileges: passed" in faults
