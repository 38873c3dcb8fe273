"""How many jobs come into each queue and leave it: the last minute of one process, in slices of five seconds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping

SLICE_S = 5.0
SLICES = 12


class FlowMeter:
    """Counts of this process. `went` are starts; a job that waits again after a retry comes again."""

    def __init__(self) -> None:
        self._came: Counter[str] = Counter()
        self._went: Counter[str] = Counter()
        self._slices: deque[tuple[Counter[str], Counter[str]]] = deque(maxlen=SLICES)

    def came(self, queue: str) -> None:
        self._came[queue] += 1

    def went(self, started: Mapping[tuple[str, str, str], int]) -> None:
        """`started` is by path, which ends in the queue."""
        for path, count in started.items():
            self._went[path[-1]] += count

    def close_slice(self) -> list[tuple[str, int, int]]:
        """End a slice; jobs that came and went in the last minute, by queue."""
        self._slices.append((self._came, self._went))
        self._came, self._went = Counter(), Counter()
        came, went = _sum(came for came, _ in self._slices), _sum(went for _, went in self._slices)
        return [(queue, came[queue], went[queue]) for queue in sorted({*came, *went})]


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total
