"""May more jobs come in? A tenant's waiting jobs and a queue's are bounded, so that a flood is refused, not drowned in.

The executor counts; here its last count is kept, made newer about once a second while somebody submits, and what was
let in since is added. While the executor is away everybody is let in: its ingest is the place that would drown, and it
takes nothing.
"""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence

from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from jobyard_common.runtime.supervisor import Component

from jobyard_gateway.outbound.executor import Executor, WaitingJobs

LOOK_EVERY_S = 1.0
BELIEVED_S = 15.0
MOST_TENANTS = 10_000
LEAST_S, MOST_S, UNKNOWN_S = 1.0, 60.0, 5.0


class _Known:
    """One tenant's last count, what came since, and how fast it drains."""

    __slots__ = ("asked_at", "came", "count", "counted_at", "drained_per_s", "let_in", "looking", "tried_at")

    def __init__(self) -> None:
        self.count: WaitingJobs | None = None
        self.counted_at = -1e9
        self.asked_at = -1e9
        self.tried_at = -1e9
        self.came: dict[str, int] = {}
        self.let_in = 0
        self.drained_per_s = 0.0
        self.looking = False

    def take(self, count: WaitingJobs, *, now: float) -> None:
        before = self.count
        if before is not None and before.count != count.count:
            passed_s = max(now - self.counted_at, 0.001)
            drained = before.waiting + self.let_in - count.waiting
            self.drained_per_s = max(0.0, drained / passed_s)
        if before is None or before.count != count.count:
            self.came, self.let_in = {}, 0
            self.counted_at = now
        self.count, self.asked_at = count, now


class Admission(Component):
    """`most_waiting` is a tenant's; 0 means no bound. Limits of queues come with the counts."""

    name = "admission"

    def __init__(self, executor: Executor, *, most_waiting: int, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._executor = executor
        self._most_waiting = most_waiting
        self._monotonic = monotonic
        self._tenants: OrderedDict[str, _Known] = OrderedDict()

    def admit(self, tenant: str, queue: str, *, count: int = 1) -> None:
        """Let `count` jobs of a queue in, or none.

        Raises:
            Problem: queue_full, with Retry-After from how fast jobs leave.
        """
        known = self._of(tenant)
        now = self._monotonic()
        if now - known.tried_at > LOOK_EVERY_S and not known.looking:
            known.looking, known.tried_at = True, now
            self.spawn(self._look(tenant, known), name="look")
        counted = known.count
        if counted is not None and now - known.asked_at < BELIEVED_S:
            waiting = counted.waiting + known.let_in
            if self._most_waiting and waiting + count > self._most_waiting:
                raise self._full(known, waiting + count - self._most_waiting, f"{waiting:,} jobs wait already.")
            limit = counted.queues.get(queue) if counted.queues else None
            if limit is not None and limit.waiting + known.came.get(queue, 0) + count > limit.max_waiting:
                detail = f"The queue {queue} takes at most {limit.max_waiting:,} waiting jobs."
                raise self._full(known, limit.waiting + count - limit.max_waiting, detail)
        known.came[queue] = known.came.get(queue, 0) + count
        known.let_in += count

    def admit_all(self, tenant: str, queues: Sequence[str]) -> list[Problem | None]:
        """Let one job more into each of these queues, in this order; what is said to each that is not let in."""
        counts = Counter(queues)
        if self._have_room(tenant, counts):
            for queue, count in counts.items():
                self.admit(tenant, queue, count=count)
            return [None] * len(queues)
        return [self._refusal(tenant, queue) for queue in queues]

    def _refusal(self, tenant: str, queue: str) -> Problem | None:
        try:
            self.admit(tenant, queue)
        except Problem as problem:
            return problem
        return None

    def _have_room(self, tenant: str, counts: Mapping[str, int]) -> bool:
        known = self._of(tenant)
        counted = known.count
        if counted is None or self._monotonic() - known.asked_at >= BELIEVED_S:
            return True
        if self._most_waiting and counted.waiting + known.let_in + sum(counts.values()) > self._most_waiting:
            return False
        limits = counted.queues or {}
        return all(
            limits[queue].waiting + known.came.get(queue, 0) + count <= limits[queue].max_waiting
            for queue, count in counts.items()
            if queue in limits
        )

    async def know(self, tenant: str) -> None:
        """Ask for the tenant's count if none is known that could be believed; whoever can wait asks first."""
        known = self._of(tenant)
        now = self._monotonic()
        stale = known.count is None or now - known.asked_at >= BELIEVED_S
        if stale and now - known.tried_at > LOOK_EVERY_S and not known.looking:
            known.looking, known.tried_at = True, now
            await self._look(tenant, known)

    def _of(self, tenant: str) -> _Known:
        known = self._tenants.get(tenant)
        if known is None:
            known = self._tenants[tenant] = _Known()
            if len(self._tenants) > MOST_TENANTS:
                self._tenants.popitem(last=False)
        return known

    def _full(self, known: _Known, excess: int, detail: str) -> Problem:
        seconds = excess / known.drained_per_s if known.drained_per_s > 0 else UNKNOWN_S
        seconds = min(MOST_S, max(LEAST_S, seconds)) * random.uniform(1.0, 1.2)  # noqa: S311 - spreads retries
        return Problem("queue_full", detail, headers={"Retry-After": str(math.ceil(seconds))})

    async def _look(self, tenant: str, known: _Known) -> None:
        try:
            known.take(await self._executor.waiting(tenant=tenant), now=self._monotonic())
        except ServiceAway:
            # What was known fades; somebody who submits asks again in a second.
            pass
        finally:
            known.looking = False
