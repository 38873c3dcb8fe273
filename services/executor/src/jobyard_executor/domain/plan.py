"""What one claim takes: free slots are given out one turn at a time, each to whom it is due and who can use it.

A turn that a limit forbids goes to the next in line, so that room under a limit that many share is shared as fairly as
slots are. Room is given to the lane whose oldest job has waited longest (by `sort_at`: priority with ageing).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from jobyard_executor.domain.fairness import FairTree, Path
from jobyard_executor.domain.lane import Lane


class Waiting(msgspec.Struct):
    """A lane with work; `first` is the `sort_at` of the job that comes first in it."""

    text: str
    lane: Lane
    first: datetime


class Order(msgspec.Struct, frozen=True):
    """Take at most `quota` jobs of `lane`; all lanes of one `group` together at most its share."""

    lane: str
    group: int
    quota: int


class Plan(msgspec.Struct, frozen=True):
    orders: tuple[Order, ...]
    shares: tuple[int, ...]


class _Limited:
    """A lane under limits, and how many jobs it was promised room for."""

    def __init__(self, waiting: Waiting, keys: list[str]) -> None:
        self.waiting = waiting
        self.keys = keys
        self.quota = 0

    def reserve(self, room: dict[str, int]) -> bool:
        if any(room[key] <= 0 for key in self.keys):
            return False
        for key in self.keys:
            room[key] -= 1
        self.quota += 1
        return True


class _Leaf:
    """All lanes of one path: one tenant, one fairness key, one queue."""

    def __init__(self, room: dict[str, int]) -> None:
        self._room = room
        self._open: list[Waiting] = []
        self._limited: list[_Limited] = []
        self._full: list[_Limited] = []
        self._turn = 0
        self._share = 0
        self.first: datetime | None = None

    def add(self, waiting: Waiting, keys: list[str]) -> None:
        if self.first is None or waiting.first < self.first:
            self.first = waiting.first
        if keys:
            self._limited.append(_Limited(waiting, keys))
        else:
            self._open.append(waiting)

    def seal(self) -> None:
        """Lanes by age; behind an open lane that is older, a limited one needs no room yet."""
        if self._open:
            oldest = min(waiting.first for waiting in self._open)
            self._limited = [row for row in self._limited if row.waiting.first <= oldest]
        self._limited.sort(key=lambda row: row.waiting.first)

    def give(self, turns: int) -> int:
        """How many of these turns can be used."""
        if self._open and not self._limited:
            self._share += turns
            return turns
        used = 0
        for _ in range(turns):
            if not self._reserve() and not self._open:
                break
            used += 1
        self._share += used
        return used

    def _reserve(self) -> bool:
        rows = self._limited
        while rows:
            place = self._turn % len(rows)
            if rows[place].reserve(self._room):
                self._turn = place + 1
                return True
            if rows[place].quota:
                self._full.append(rows[place])
            del rows[place]
            self._turn = place
        return False

    def orders(self, group: int) -> tuple[list[Order], int]:
        found = [Order(waiting.text, group, self._share) for waiting in self._open if self._share]
        found += [Order(row.waiting.text, group, row.quota) for row in (*self._full, *self._limited) if row.quota]
        return found, self._share


class _Branch:
    """Children that share turns by virtual time and weight."""

    def __init__(self, tree: FairTree, path: Path) -> None:
        self._tree = tree
        self._path = path
        self._children: dict[Path, _Branch | _Leaf] = {}
        self._heap: list[tuple[float, datetime, Path]] = []
        self.first: datetime | None = None

    def leaf(self, path: Path, room: dict[str, int]) -> _Leaf:
        """The leaf at `path`, made with its branches where it is new."""
        here = path[: len(self._path) + 1]
        child = self._children.get(here)
        if child is None:
            child = self._children[here] = _Leaf(room) if len(here) == len(path) else _Branch(self._tree, here)
        return child if isinstance(child, _Leaf) else child.leaf(path, room)

    def seal(self) -> None:
        for path, child in self._children.items():
            child.seal()
            assert child.first is not None
            self._heap.append((self._tree.time(path), child.first, path))
        heapq.heapify(self._heap)
        self.first = min(first for _, first, _ in self._heap)

    def give(self, turns: int) -> int:
        if len(self._heap) == 1:
            used = self._children[self._heap[0][2]].give(turns)
            if used < turns:
                self._heap.clear()
            return used
        used = 0
        while used < turns and self._heap:
            if len(self._heap) == 1:
                return used + self.give(turns - used)
            time, first, path = self._heap[0]
            if self._children[path].give(1):
                used += 1
                heapq.heapreplace(self._heap, (time + self._tree.cost(path), first, path))
            else:
                heapq.heappop(self._heap)
        return used

    def leaves(self) -> Iterable[_Leaf]:
        for child in self._children.values():
            if isinstance(child, _Leaf):
                yield child
            else:
                yield from child.leaves()


def plan(waiting: Iterable[Waiting], *, free: Mapping[str, int], room: Mapping[str, int], tree: FairTree) -> Plan:
    """Share the free slots of each isolation; `room` is what each limit (by its key) still allows."""
    left = dict(room)
    roots: dict[str, _Branch] = {}
    for row in waiting:
        lane = row.lane
        if free.get(lane.isolation, 0) <= 0:
            continue
        root = roots.get(lane.isolation)
        if root is None:
            root = roots[lane.isolation] = _Branch(tree, ())
        keys = [key for key in (*lane.limits(), f"pool:{lane.queue}") if key in left] if left else []
        root.leaf(lane.path, left).add(row, keys)
    orders: list[Order] = []
    shares: list[int] = []
    for isolation, root in roots.items():
        root.seal()
        root.give(free[isolation])
        for leaf in root.leaves():
            found, share = leaf.orders(len(shares))
            if found:
                orders += found
                shares.append(share)
    return Plan(tuple(orders), tuple(shares))
