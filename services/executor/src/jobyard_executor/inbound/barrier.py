"""Read your own writes: a read that follows a command waits until the command was applied."""

from __future__ import annotations

import asyncio
import time

import asyncpg
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.offsets import Progress
from starlette.requests import Request

from jobyard_executor.domain.barrier import has_passed

HEADER = "x-jobyard-after"
WAIT_S = 2.0
POLL_S = 0.05
APPLIED = """
SELECT DISTINCT ON (partition) partition, next FROM consumer_offset
WHERE topic = $1 ORDER BY partition, updated_at DESC
"""


class Barrier:
    """`progress` is this process's own ingest; partitions of other executors are looked up in the database."""

    def __init__(self, pool: asyncpg.Pool, progress: Progress | None, *, topic: str) -> None:
        self._pool = pool
        self._progress = progress
        self._topic = topic

    async def passed(self, request: Request) -> bool:
        """Wait up to 2 s for the positions that the caller has seen acknowledged; whether all were passed."""
        after = positions(request.headers.get(HEADER, ""))
        if not after or self._by_own_ingest(after):
            return True
        deadline = time.monotonic() + WAIT_S
        if self._progress is not None and set(after) <= set(self._progress.next):
            return await self._progress.wait(after, timeout_s=WAIT_S)
        while True:
            rows = await self._pool.fetch(APPLIED, self._topic)
            applied = {row["partition"]: row["next"] for row in rows}
            if has_passed(applied, after):
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)

    def _by_own_ingest(self, after: dict[int, int]) -> bool:
        return self._progress is not None and all(self._progress.passed(p, o) for p, o in after.items())


def positions(header: str) -> dict[int, int]:
    """Parse `partition:offset[,…]`; raises Problem."""
    found: dict[int, int] = {}
    try:
        for part in filter(None, header.split(",")):
            partition, _, offset = part.strip().partition(":")
            found[int(partition)] = max(int(offset), found.get(int(partition), -1))
    except ValueError:
        raise Problem("bad_request", "X-Jobyard-After is partition:offset, separated by commas") from None
    return found
