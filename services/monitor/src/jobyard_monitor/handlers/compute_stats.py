"""Jobs by state and tool, how many succeed, how long they wait and run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobyard_common.db.connection import Pool

from jobyard_monitor.domain.stats import Stats, summarise
from jobyard_monitor.store import job_events
from jobyard_monitor.store.reading import reading


@dataclass(frozen=True)
class Window:
    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.since


async def compute_stats(tenant: str, pool: Pool, *, window: Window) -> Stats:
    """Unfinished jobs as they are now; finished ones of the window."""
    async with reading(pool) as connection:
        live = await job_events.live_counts(tenant, connection)
        finished = await job_events.finished_counts(tenant, connection, since=window.since)
    return summarise(live, finished)
