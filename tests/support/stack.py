"""A stack of its own for a measurement, started as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class OwnStack:
    """`python -m jobyard_local run` on a home and ports of its own."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self._settings = {"JOBYARD_HOME": str(home), "JOBYARD_PORT": "0", "JOBYARD_TOOL_PACKS": "test", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}

    def start(self, *, timeout_s: float = 300) -> float:
        """Returns the seconds until the stack file was there."""
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / "stack.json"
        path.unlink(missing_ok=True)
        began = time.monotonic()
        with (self.home / "launcher.out").open("ab") as out:
            command = [sys.executable, "-m", "jobyard_local", "run"]
            self._process = subprocess.Popen(
                command, env={**os.environ, **self._settings}, stdout=out, stderr=out, start_new_session=True
            )
        while not path.exists():
            if self._process.poll() is not None or time.monotonic() - began > timeout_s:
                raise RuntimeError((self.home / "launcher.out").read_text()[-2000:])
            time.sleep(0.02)
        took = time.monotonic() - began
        self.reload()
        return took

    def reload(self) -> dict[str, Any]:
        self.facts = json.loads((self.home / "stack.json").read_text())
        return self.facts

    @property
    def url(self) -> str:
        return str(self.facts["gateway_url"])

    @property
    def key(self) -> str:
        return str(self.facts["api_key"])

    def pids(self) -> dict[str, int]:
        services = {row["name"]: row["pid"] for row in self.facts["services"]}
        return {
            **services,
            "kafka": self.facts["broker"]["pid"],
            "postgres": self.facts["postgres"]["pid"],
            "valkey": self.facts["redis"]["pid"],
        }

    def stop(self) -> float:
        """Ctrl-C; returns the seconds until the launcher had ended."""
        if self._process is None:
            return 0.0
        began = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=5)
        self._process = None
        return time.monotonic() - began
