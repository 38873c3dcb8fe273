"""The launcher as its user starts it, and what a test may ask of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobyard_local.process import started_at


class Run:
    """`python -m jobyard_local run` in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.output = home.with_suffix(".out")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, port: str = "0", **settings: str) -> None:
        env = os.environ | {"JOBYARD_HOME": str(self.home), "JOBYARD_PORT": port, "JOBYARD_TOOL_PACKS": "test"}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobyard_local", "run"],
                env=env | settings,
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

    def end(self) -> None:
        """At once; only what this run started."""
        if not self.ended:
            self.send(signal.SIGKILL)
            self.wait(timeout_s=10)
            until(lambda: not living(self.home), within_s=10)


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
