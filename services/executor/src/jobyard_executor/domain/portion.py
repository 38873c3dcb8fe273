"""How many jobs one claim takes at most.

A large claim costs less a job. It also takes longer, and whoever comes meanwhile waits until it has ended: so where
several share the slots, claims are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobyard_executor.domain.lane import Lane

SHARED = 64
SHARED_S = 5.0
"""Two of whom jobs waited within so long share the slots."""


class Portion:
    """Of one claimer. Who shares is a tenant, or a fairness key of a tenant."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], float] = {}

    def of(self, free: Mapping[str, int], lanes: Iterable[Lane], *, now: float) -> Mapping[str, int]:
        """What to ask for of the free slots, by isolation; `now` in seconds by the monotonic clock."""
        lately = {who: at for who, at in self._seen.items() if now - at < SHARED_S}
        self._seen = lately | {lane.path[:2]: now for lane in lanes}
        if len(self._seen) < 2:
            return free
        return {isolation: min(slots, SHARED) for isolation, slots in free.items()}
