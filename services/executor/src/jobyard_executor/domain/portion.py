"""How many jobs one claim takes at most.

A large claim costs less a job. It also takes longer, and whoever comes meanwhile waits until it has ended: so where
several share the slots, claims are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobyard_executor.domain.lane import Lane

SHARED = 64
SHARED_S = 5.0
"""So long after two were seen waiting at once they count as sharing the slots."""


class Portion:
    """Of one claimer. Who shares is a tenant, or a fairness key of a tenant."""

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None
        self._last_at = self._shared_until = float("-inf")

    def of(self, free: Mapping[str, int], lanes: Iterable[Lane], *, now: float) -> Mapping[str, int]:
        """What to ask for of the free slots, by isolation; `now` in seconds by the monotonic clock."""
        found = {lane.path[:2] for lane in lanes}
        others = found - {self._last}
        if len(found) > 1 or (others and self._last is not None and now - self._last_at < SHARED_S):
            self._shared_until = now + SHARED_S
        if found:
            self._last, self._last_at = min(found), now
        if now >= self._shared_until:
            return free
        return {isolation: min(slots, SHARED) for isolation, slots in free.items()}
