"""How many jobs wait, by queue and tenant; what a door needs to know to say that a queue is full.

Counting reads the whole `ready` table, so a count is kept for a while that grows with what it cost: at most a
hundredth of one connection's time goes into it, however many jobs wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import msgspec

WAITING = """
SELECT split_part(lane, '/', 1) AS queue, tenant, sum(n)::bigint AS n
FROM (SELECT lane, tenant, count(*) AS n FROM ready GROUP BY 1, 2) lanes GROUP BY 1, 2
"""
BLOCKED = "SELECT tenant, count(*) AS n FROM blocked GROUP BY 1"
LIMITS = "SELECT name, max_waiting FROM queue WHERE max_waiting IS NOT NULL"
LEAST_KEPT_S = 0.5
SHARE = 100


class Waiting(msgspec.Struct, frozen=True):
    """One count of all. `number` grows with each; a job that waits for its time is not among them."""

    number: int
    by_queue: dict[str, int]
    by_tenant: dict[str, int]
    limits: dict[str, int]


class WaitingCounts:
    """The newest count, made anew when it is too old."""

    def __init__(self, pool: asyncpg.Pool, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._last: Waiting | None = None
        self._good_until = 0.0

    async def now(self) -> Waiting:
        async with self._lock:
            if self._last is None or self._monotonic() >= self._good_until:
                began = self._monotonic()
                self._last = await self._count(1 + (self._last.number if self._last else 0))
                ended = self._monotonic()
                self._good_until = ended + max(LEAST_KEPT_S, SHARE * (ended - began))
            return self._last

    async def _count(self, number: int) -> Waiting:
        by_queue: dict[str, int] = {}
        by_tenant: dict[str, int] = {}
        async with self._pool.acquire() as connection:
            for row in await connection.fetch(WAITING):
                by_queue[row["queue"]] = by_queue.get(row["queue"], 0) + row["n"]
                by_tenant[row["tenant"]] = by_tenant.get(row["tenant"], 0) + row["n"]
            for row in await connection.fetch(BLOCKED):
                by_tenant[row["tenant"]] = by_tenant.get(row["tenant"], 0) + row["n"]
            limits = {row["name"]: row["max_waiting"] for row in await connection.fetch(LIMITS)}
        return Waiting(number, by_queue, by_tenant, limits)
