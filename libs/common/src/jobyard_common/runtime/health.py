"""Liveness and readiness as named checks.

Live means that the loop turns; it looks at nothing else, or one outage would become two. Ready means that every
critical check holds; a check that is only degraded keeps the service in rotation and is shown.
"""

from __future__ import annotations

from collections.abc import Callable

from jobyard_common.contracts.telemetry import Check

OK = Check("ok")


class Readiness:
    """The checks of one process. A check is a cheap look at known state; it never waits."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], Check]] = {}
        self.started = False
        self.draining = False

    def register(self, name: str, check: Callable[[], Check]) -> None:
        self._checks[name] = check

    def results(self) -> dict[str, Check]:
        found = {}
        for name, check in self._checks.items():
            try:
                found[name] = check()
            except Exception as error:
                found[name] = Check("down", f"{type(error).__name__}: {error}"[:200])
        return found

    def status(self) -> str:
        """`ok`, `degraded`, or `down` when a critical check fails or the service starts or drains."""
        if self.draining or not self.started:
            return "down"
        rows = self.results().values()
        if any(row.status == "down" and row.critical for row in rows):
            return "down"
        return "ok" if all(row.status == "ok" for row in rows) else "degraded"
