"""A clock that steps: Python imports this file first where its folder is on PYTHONPATH.

Seconds to add to the wall clock stand in the file that JOBYARD_CHAOS_CLOCK names. Only the clock that services pass
to their parts steps; the monotonic one does not, as on a real machine.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

_told = os.environ.get("JOBYARD_CHAOS_CLOCK")


def _step(told: Path) -> None:
    from jobyard_common.runtime.clock import SystemClock

    def now(_self: SystemClock) -> datetime:
        try:
            ahead = float(told.read_text() or 0)
        except (OSError, ValueError):
            ahead = 0.0
        return datetime.now(UTC) + timedelta(seconds=ahead)

    SystemClock.now = now  # type: ignore[method-assign]


if _told:
    _step(Path(_told))
