"""The points in the code, in the catalogue and in the tests are the same."""

from __future__ import annotations

import re
from pathlib import Path

from jobyard_common.runtime.crash import POINTS

ROOT = Path(__file__).resolve().parents[2]


def test_every_point_stands_in_the_code_and_no_other() -> None:
    code = [*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]
    found = {name for path in code for name in re.findall(r'\bcrash\("(\w+)"\)', path.read_text())}
    assert found == set(POINTS)


def test_every_point_is_hit_by_a_test() -> None:
    hit = set(re.findall(r'"(K\d+)', (Path(__file__).parent / "test_points.py").read_text()))
    assert hit == set(POINTS)
