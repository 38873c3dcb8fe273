"""A short chaos run: one burst and its quiet on servers of its own. Long ones are `make chaos`."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.plan import Kind
from tests.chaos.report import HEAD
from tests.chaos.run import chaos

pytestmark = [pytest.mark.serial, pytest.mark.timeout(420)]


def test_nothing_is_lost_and_nothing_is_recorded_twice() -> None:
    home, seed = Path(tempfile.mkdtemp(prefix="jobyard-chaos-")), secrets.randbelow(100_000)
    verdict = asyncio.run(chaos(home, minutes=1, seed=seed, calibrate_s=3))
    print(HEAD, verdict.report.row(), sep="\n")
    # How much of the load is back after a burst depends on what else this machine does; long runs judge that.
    wrong = [breach for breach in verdict.breaches if not breach.subject.startswith("burst ")]
    assert wrong == [], f"seed {seed}, kept in {home}:\n" + "\n".join(map(str, wrong[:20]))
    hits = sum(verdict.report.counts.get(kind, 0) for kind in (Kind.KILL, Kind.FREEZE, Kind.FREEZE_ALONE))
    assert hits >= 10 and verdict.report.counts.get(Kind.BACKEND, 0) >= 2, "the faults did not happen"
    shutil.rmtree(home, ignore_errors=True)
