"""The whole stack as its user starts it, told as a timeline."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jobyard_local.process import started_at

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


class Run:
    """`python -m jobyard_local run` in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.output = home.with_suffix(".out")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, port: str = "0") -> None:
        env = os.environ | {"JOBYARD_HOME": str(self.home), "JOBYARD_PORT": port, "JOBYARD_TOOL_PACKS": "test"}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobyard_local", "run"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stack(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return told

    def until_ready(self) -> dict[str, Any]:
        until(lambda: (self.home / "stack.json").exists() or self.ended, within_s=120)
        assert not self.ended, self.said()
        return self.stack()

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, timeout_s: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    launched = Run(tmp_path / "home")
    yield launched
    if not launched.ended:
        launched.send(signal.SIGKILL)
        launched.wait(timeout_s=10)
        until(lambda: not living(launched.home), within_s=10)


def living(home: Path) -> list[int]:
    """Processes that carry the home in their environment."""
    needle, found = f"JOBYARD_HOME={home}\0".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if needle in (entry / "environ").read_bytes() and started_at(int(entry.name)) is not None:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], object], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


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
