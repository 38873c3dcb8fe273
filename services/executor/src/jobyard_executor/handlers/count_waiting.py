"""How much waits, runs and comes later in each queue: counted at most once a second, and never for more than a
hundredth of the time, however long the queues are. Counts are therefore a moment old; limits never rest on them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from datetime import datetime

import asyncpg
import msgspec
from jobyard_common.db.errors import is_retryable
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.store import queues
from jobyard_executor.store.queues import CAP

log = get_logger("queues")
LEAST_S = 1.0
SHARE = 100
"""An answer that took t seconds is kept for 100 t."""
CHEAP_S = 0.02
"""A count that takes less is waited for; a longer one is made behind an older answer."""
STATES = ("queued", "running", "cancelling", "scheduled", "retry_wait", "blocked")


class Counts(msgspec.Struct, frozen=True):
    """`depth` by queue and state, `tenants` the queued jobs by queue and tenant."""

    depth: Mapping[str, Mapping[str, int]]
    capped: bool
    oldest: Mapping[str, datetime]
    tenants: Mapping[tuple[str, str], int]
    flows: Mapping[str, tuple[float, float]]

    def of(self, queue: str) -> dict[str, int]:
        found = self.depth.get(queue, {})
        return {state: found.get(state, 0) for state in STATES}

    def of_tenant(self, tenant: str) -> int:
        return sum(count for (_, owner), count in self.tenants.items() if owner == tenant)


class WaitingCounts:
    """Answers with what was counted last, and counts again behind the answer when that is old."""

    def __init__(self, pool: asyncpg.Pool, *, least_s: float = LEAST_S) -> None:
        self._pool = pool
        self._least_s = least_s
        self._last: Counts | None = None
        self._good_until = 0.0
        self._patience_until = 0.0
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> Counts:
        now = time.monotonic()
        if self._last is None or now >= self._patience_until:
            async with self._lock:
                if self._last is None or time.monotonic() >= self._patience_until:
                    return await self._count()
        if now >= self._good_until and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._count_quietly(), name="count waiting")
        assert self._last is not None
        return self._last

    async def _count_quietly(self) -> None:
        async with self._lock:
            try:
                await self._count()
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.debug("queues.not_counted", error=str(error)[:200])

    async def _count(self) -> Counts:
        began = time.monotonic()
        async with self._pool.acquire() as connection:
            waiting = await queues.waiting(connection)
            active = await queues.active(connection)
            flows = await queues.flows(connection)
        depth: dict[str, dict[str, int]] = {}
        oldest: dict[str, datetime] = {}
        tenants: dict[tuple[str, str], int] = {}
        for row in waiting:
            of_queue = depth.setdefault(row.queue, {})
            of_queue["queued"] = of_queue.get("queued", 0) + row.n
            oldest[row.queue] = min(oldest.get(row.queue, row.oldest), row.oldest)
            tenants[row.queue, row.tenant] = row.n
        later: dict[str, int] = {}
        for queue, state, count in active:
            depth.setdefault(queue, {})[state] = count
            later[state] = later.get(state, 0) + count
        capped = later.get("blocked", 0) >= CAP or later.get("scheduled", 0) + later.get("retry_wait", 0) >= CAP
        self._last = Counts(depth, capped, oldest, tenants, flows)
        now = time.monotonic()
        self._good_until = now + max(self._least_s, SHARE * (now - began)) if self._least_s else now
        self._patience_until = now + (1 if now - began < CHEAP_S else 5) * (self._good_until - now)
        return self._last

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
