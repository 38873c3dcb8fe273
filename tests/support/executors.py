"""More executors beside the one of a stack, with the same settings but what is changed here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from jobyard_local.servers.ports import free_port

from tests.support.stack import OwnStack


class MoreExecutors:
    """Processes of this module's own; they end with `stop`."""

    def __init__(self, stack: OwnStack) -> None:
        self._stack = stack
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, **settings: str) -> None:
        """One more, under an instance id and a data folder of its own."""
        folder = self._stack.home / name
        folder.mkdir(exist_ok=True)
        own = {
            "JOBYARD_INSTANCE_ID": name,
            "JOBYARD_DATA_DIR": str(folder),
            "JOBYARD_HTTP_PORT": str(free_port()),
            **settings,
        }
        with (folder / "log").open("ab") as out:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "jobyard_executor"], env={**self._settings(), **own}, stdout=out, stderr=out
            )

    def _settings(self) -> dict[str, str]:
        raw = Path(f"/proc/{self._stack.pids()['executor']}/environ").read_bytes()
        pairs = (item.split("=", 1) for item in os.fsdecode(raw).split("\0") if "=" in item)
        return {name: value for name, value in pairs}

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
