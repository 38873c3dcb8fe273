"""Lanes: the waiting jobs that one claim may treat alike, and how free slots are shared among them.

A lane is everything that decides whether a job may start here and now: isolation, sandbox level, tool version, queue,
whom its turn is charged to, and its concurrency key. Within a lane jobs start by `sort_at`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from jobyard_common.contracts.jobs import JobSpec

_LEVELS = ("L0", "L1", "L2", "L3", "L4")


class Lane(msgspec.Struct, frozen=True):
    isolation: str
    level: str
    tool: str
    version: str
    queue: str
    tenant: str
    fairness: str
    concurrency: str

    def limits(self) -> tuple[str, ...]:
        """Keys of the limits that a job of this lane may be under, the narrowest last."""
        found = (f"queue:{self.queue}", f"tool:{self.tool}")
        return (*found, f"key:{self.tenant}/{self.concurrency}") if self.concurrency else found

    @property
    def charged(self) -> str:
        return f"{self.tenant}/{self.fairness}"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, str, str, str, str, str, str, str]).decode


def lane_of(spec: JobSpec, *, tenant: str) -> str:
    """The lane as the text that the `ready` table orders by."""
    return _encode(
        (
            spec.isolation,
            spec.min_isolation,
            spec.tool,
            spec.tool_version,
            spec.queue,
            tenant,
            spec.fairness_key or "",
            spec.concurrency_key or "",
        )
    ).decode()


def parse(lane: str) -> Lane:
    return Lane(*_decode(lane))


class Order(msgspec.Struct, frozen=True):
    """Take at most `quota` jobs of `lane`; all lanes of one `group` together at most `share`."""

    lane: str
    group: int
    quota: int


class Plan(msgspec.Struct, frozen=True):
    orders: tuple[Order, ...]
    shares: tuple[int, ...]


class FairShare:
    """Start-time fair queueing over who is charged, with a virtual time that a sleeper cannot save up."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}
        self._floor = 0.0

    def shares(self, keys: Sequence[str], slots: int) -> dict[str, int]:
        """Split `slots` among `keys`: the one that was served least comes first."""
        times = {key: max(self._used.get(key, 0.0), self._floor) for key in keys}
        if not times:
            return {}
        if len(times) == 1:
            return {next(iter(times)): slots}
        found = dict.fromkeys(times, 0)
        for _ in range(slots):
            key = min(times, key=times.__getitem__)
            times[key] += 1.0
            found[key] += 1
        return found

    def charge(self, started: Mapping[str, int]) -> None:
        """Account for what really started."""
        for key, count in started.items():
            self._used[key] = max(self._used.get(key, 0.0), self._floor) + count
        if self._used:
            waiting = min((self._used[key] for key in started), default=self._floor)
            self._floor = max(self._floor, waiting)
        if len(self._used) > 10_000:
            self._used = {key: used for key, used in self._used.items() if used > self._floor}


def runnable(lane: Lane, *, tools: frozenset[tuple[str, str]], levels: frozenset[str]) -> bool:
    """Whether this executor knows the tool and its workers proved the level, or a stronger one."""
    if (lane.tool, lane.version) not in tools:
        return False
    if lane.level not in _LEVELS:
        return False
    return any(level in levels for level in _LEVELS[_LEVELS.index(lane.level) :])


def plan(
    lanes: Iterable[tuple[str, Lane]], *, free: Mapping[str, int], room: Mapping[str, int], fair: FairShare
) -> Plan:
    """Share the free slots of each isolation; `room` is what each limit (by its key) still allows."""
    by_isolation: dict[str, list[tuple[str, Lane]]] = {}
    for text, lane in lanes:
        if free.get(lane.isolation, 0) > 0:
            by_isolation.setdefault(lane.isolation, []).append((text, lane))
    left = dict(room)
    orders: list[Order] = []
    shares: list[int] = []
    for isolation, members in by_isolation.items():
        split = fair.shares(sorted({lane.charged for _, lane in members}), free[isolation])
        for charged, share in split.items():
            group = len(shares)
            taken = len(orders)
            for text, lane in members:
                if lane.charged != charged:
                    continue
                limits = [key for key in lane.limits() if key in left]
                quota = min([share, *(left[key] for key in limits)])
                if quota <= 0:
                    continue
                for key in limits:
                    left[key] -= quota
                orders.append(Order(text, group, quota))
            if len(orders) > taken:
                shares.append(share)
    return Plan(tuple(orders), tuple(shares))
