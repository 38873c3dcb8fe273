"""The whole stack as its user starts it, told as a timeline."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .stack import Run, living, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    launched = Run(tmp_path / "home")
    yield launched
    launched.end()


def pid_of(stack: dict[str, Any], name: str) -> int:
    pids = {row["name"]: row["pid"] for row in stack["services"]}
    return int((pids | {"kafka": stack["broker"]["pid"], "postgres": stack["postgres"]["pid"]})[name])


def ready(stack: dict[str, Any], name: str) -> bool:
    url = next(row["health_url"] for row in stack["services"] if row["name"] == name)
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_stack_lives_heals_and_leaves_nothing(run: Run) -> None:
    run.start()
    stack = run.until_ready()
    assert stat.S_IMODE((run.home / "stack.json").stat().st_mode) == 0o600
    key = {"Authorization": f"Bearer {stack['api_key']}"}
    assert httpx.get(f"{stack['gateway_url']}/v1/tools", headers=key).status_code == 200

    until(lambda: "12,028 rows, 19 columns (csv)" in run.said(), within_s=60)
    assert "report.html" in run.said()
    assert "trace id" in run.said()

    for name in ("executor", "gateway", "postgres"):
        before = pid_of(run.stack(), name)
        os.kill(before, signal.SIGKILL)
        until(lambda name=name, before=before: pid_of(run.stack(), name) != before, within_s=15)  # type: ignore[misc]
        until(lambda: all(ready(run.stack(), service["name"]) for service in stack["services"]), within_s=60)
        assert f"{name} was ended by SIGKILL; starting it again" in run.said()

    run.send(signal.SIGINT)
    assert run.wait(timeout_s=25) == 0
    assert living(run.home) == []
    assert not (run.home / "stack.json").exists()

    run.start()
    again = run.until_ready()
    assert again["api_key"] == stack["api_key"]
    jobs = httpx.get(f"{again['gateway_url']}/v1/jobs", headers=key).json()["data"]
    assert [job["tool"] for job in jobs] == ["table.profile"]

    run.send(signal.SIGKILL)
    run.wait(timeout_s=5)
    until(lambda: living(run.home) == [], within_s=5)
