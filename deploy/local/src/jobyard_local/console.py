"""What the launcher tells the person at the terminal, and its log."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path


class Console:
    """Lines with the seconds since the start; the same, with the time of day, go to `launcher.log` once it is known."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._log: Path | None = None

    def log_to(self, path: Path) -> None:
        self._log = path

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def step(self, text: str) -> None:
        """One step of the start, or something that happened to the stack."""
        self.line(f"[{self.elapsed_s:6.1f} s] {text}")

    def line(self, text: str = "") -> None:
        print(text, flush=True)
        self._keep(text)

    def error(self, text: str) -> None:
        print(f"jobyard: {text}", file=sys.stderr, flush=True)
        self._keep(f"error: {text}")

    def _keep(self, text: str) -> None:
        if self._log is None or not text:
            return
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        with self._log.open("a") as log:
            log.write(f"{stamp} {text}\n")
