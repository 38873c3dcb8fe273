"""Whose turn it is: start-time fair queueing in three steps, tenant, then fairness key, then queue.

Each step shares the turns of the step above it by weight, so that a tenant gains nothing by spreading over a thousand
fairness keys or every queue. Virtual time belongs to one process and begins anew with it: every executor is fair by
itself, hence all of them are together, and what a restart forgets is at most one batch. Who slept cannot save up turns:
nobody's time lies behind the start of the last turn that was given.
"""

from __future__ import annotations

from collections.abc import Mapping

Path = tuple[str, ...]
MOST = 20_000
"""Nodes remembered; beyond, those that nothing is owed are forgotten."""


class Weights:
    """Weights by name; what has none counts once. Tenants and queues are weighed by operators, keys by their tenant."""

    def __init__(
        self,
        *,
        tenants: Mapping[str, float] | None = None,
        keys: Mapping[tuple[str, str], float] | None = None,
        queues: Mapping[str, float] | None = None,
    ) -> None:
        self._tenants = tenants or {}
        self._keys = keys or {}
        self._queues = queues or {}

    def of(self, path: Path) -> float:
        if len(path) == 1:
            return self._tenants.get(path[0], 1.0)
        if len(path) == 2:
            return self._keys.get((path[0], path[1]), 1.0)
        return self._queues.get(path[2], 1.0)


class FairTree:
    """Virtual times of everybody who was served, by path."""

    def __init__(self) -> None:
        self.weights = Weights()
        self._used: dict[Path, float] = {}
        self._floor: dict[Path, float] = {}

    def time(self, path: Path) -> float:
        """The virtual time at which the next turn of this node would start."""
        return max(self._used.get(path, 0.0), self._floor.get(path[:-1], 0.0))

    def cost(self, path: Path) -> float:
        return 1.0 / self.weights.of(path)

    def charge(self, started: Mapping[tuple[str, str, str], int]) -> None:
        """Account for what really started, by the paths of its lanes."""
        for depth in (1, 2, 3):
            turns: dict[Path, int] = {}
            for path, count in started.items():
                turns[path[:depth]] = turns.get(path[:depth], 0) + count
            last: dict[Path, float] = {}
            for node, count in turns.items():
                cost = self.cost(node)
                begun = self.time(node) + cost * (count - 1)
                self._used[node] = begun + cost
                above = node[:-1]
                last[above] = min(last.get(above, begun), begun)
            for above, begun in last.items():
                self._floor[above] = max(self._floor.get(above, 0.0), begun)
        if len(self._used) > MOST:
            self._forget()

    def _forget(self) -> None:
        self._used = {node: used for node, used in self._used.items() if used > self._floor.get(node[:-1], 0.0)}
        if len(self._used) > MOST // 2:
            self._used = {}
        self._floor = {above: floor for above, floor in self._floor.items() if not above or above in self._used}
