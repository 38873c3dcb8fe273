"""Crash points kill exactly where they are named, and are nothing otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from jobyard_common.runtime import crash

PASSING = """
from jobyard_common.runtime.crash import crash
for point in ("K4", "K5", "K5", "K6"):
    crash(point)
    print(point, flush=True)
"""


def passing(order: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, crash.VARIABLE: order}
    return subprocess.run([sys.executable, "-c", PASSING], env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("order", "passed"), [("K4", ""), ("K5", "K4\n"), ("K5:2", "K4\nK5\n"), ("K6:1", "K4\nK5\nK5\n")]
)
def test_it_dies_exactly_there(order: str, passed: str) -> None:
    ended = passing(order)
    assert (ended.returncode, ended.stdout) == (-9, passed)
    assert ended.stderr == f"crash point {order}\n"


def test_a_point_that_is_not_passed_does_nothing() -> None:
    ended = passing("K5:3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "K4\nK5\nK5\nK6\n", "")


def test_an_unknown_point_is_refused_at_once() -> None:
    with pytest.raises(crash.UnknownPoint, match="K99"):
        crash.armed("K99")


def test_without_the_variable_it_is_a_function_that_does_nothing() -> None:
    assert crash.crash is crash._nothing
