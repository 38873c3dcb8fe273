"""Room for more waiting jobs, for what makes many of them here: pages of runs, steps of bulk operations, fires.

The door asks the same counts before it lets a submit in. What is made here was promised already, so it is never
refused: it waits where it is (as a step, an item, a cursor, a fire) until there is room.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobyard_common.db.errors import is_retryable
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.store.admission import Waiting, WaitingCounts

log = get_logger("room")
PLENTY = 1_000_000_000


class Room:
    """The last count and what was let in since. `most_waiting` is a tenant's bound, 0 means none; without counts
    nothing is bounded."""

    def __init__(self, counts: WaitingCounts | None = None, *, most_waiting: int = 0) -> None:
        self._counts = counts
        self._most_waiting = most_waiting
        self._last: Waiting | None = None
        self._tenants: dict[str, int] = {}
        self._queues: dict[str, int] = {}

    async def look(self) -> None:
        """Learn the newest count; to be called outside of any transaction. One that cannot be had leaves the last."""
        if self._counts is None:
            return
        try:
            found = await self._counts.now()
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("room.not_counted", error=f"{type(error).__name__}: {error}"[:200])
            return
        if self._last is None or self._last.number != found.number:
            self._last, self._tenants, self._queues = found, {}, {}

    def of_tenant(self, tenant: str) -> int:
        if self._last is None or not self._most_waiting:
            return PLENTY
        waiting = self._last.by_tenant.get(tenant, 0) + self._tenants.get(tenant, 0)
        return max(0, self._most_waiting - waiting)

    def of_queue(self, queue: str) -> int:
        limit = None if self._last is None else self._last.limits.get(queue)
        if self._last is None or limit is None:
            return PLENTY
        return max(0, limit - self._last.by_queue.get(queue, 0) - self._queues.get(queue, 0))

    def wide(self, tenant: str, count: int) -> bool:
        """Whether `count` jobs of the tenant fit, whatever their queues are."""
        return self.of_tenant(tenant) >= count and (self._last is None or not self._last.limits)

    def take(self, tenant: str, queues: Iterable[str]) -> None:
        """Jobs for these queues were made."""
        for queue in queues:
            self._tenants[tenant] = self._tenants.get(tenant, 0) + 1
            self._queues[queue] = self._queues.get(queue, 0) + 1

    def full(self, tenant: str, queue: str) -> str | None:
        """Why not one more job of the tenant fits into the queue."""
        if self.of_tenant(tenant) <= 0:
            return self._tenant_full
        return _queue_full(queue) if self.of_queue(queue) <= 0 else None

    @property
    def _tenant_full(self) -> str:
        return f"{self._most_waiting:,} jobs wait already."

    def fitting(self, tenant: str, queues: Iterable[str | None]) -> tuple[int, str | None]:
        """How many of these jobs fit, in their order, and why the next one does not; None in a place is no new job."""
        left, of_queue = self.of_tenant(tenant), dict[str, int]()
        for count, queue in enumerate(queues):
            if queue is None:
                continue
            here = of_queue.setdefault(queue, self.of_queue(queue))
            if left <= 0 or here <= 0:
                return count, self._tenant_full if left <= 0 else _queue_full(queue)
            left, of_queue[queue] = left - 1, here - 1
        return PLENTY, None


def _queue_full(queue: str) -> str:
    return f"The queue {queue} is full."
