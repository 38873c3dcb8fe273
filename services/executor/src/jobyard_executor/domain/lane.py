"""Lanes: the waiting jobs that one claim may treat alike.

A lane is everything that decides whether a job may start here and now: queue, whom its turn is charged to, isolation,
sandbox level, tool version and concurrency key. Within a lane jobs start by `sort_at`.

The text of a lane begins with its *flow*, `queue/tenant/fairness key`, and a separator that sorts below everything:
all lanes of a flow lie together, those of a queue, too, so that a walk can step from flow to flow and look at a few
lanes of each. Nobody hides behind a neighbour who spreads over a thousand concurrency keys.
"""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.jobs import JobSpec

SEPARATOR, AFTER = "\x01", "\x02"
"""What ends a flow, and what sorts just behind all of its lanes."""
AFTER_QUEUE = "0"
"""Sorts just behind the `/` that ends a queue's name."""
_LEVELS = ("L0", "L1", "L2", "L3", "L4")


class Lane(msgspec.Struct, frozen=True):
    queue: str
    tenant: str
    fairness: str
    isolation: str
    level: str
    tool: str
    version: str
    concurrency: str

    def limits(self) -> tuple[str, ...]:
        """Keys of the limits that a job of this lane may be under."""
        found = (f"queue:{self.queue}", f"tool:{self.tool}", f"tenant:{self.tenant}")
        return (*found, f"key:{self.tenant}/{self.concurrency}") if self.concurrency else found

    @property
    def path(self) -> tuple[str, str, str]:
        """Who is charged for a turn, from the outside in: tenant, fairness key, queue."""
        return self.tenant, self.fairness, self.queue


def lane_of(spec: JobSpec, *, tenant: str) -> str:
    """The lane as the text that the `ready` table orders by."""
    fairness = spec.fairness_key or ""
    if AFTER in fairness or SEPARATOR in fairness:
        fairness = fairness.replace(AFTER, f"{AFTER}b").replace(SEPARATOR, f"{AFTER}a")
    flow = f"{spec.queue}/{tenant}/{fairness}"
    kind = (spec.isolation, spec.min_isolation, spec.tool, spec.tool_version)
    return SEPARATOR.join((flow, *kind, spec.concurrency_key or ""))


def parse(lane: str) -> Lane:
    flow, isolation, level, tool, version, concurrency = lane.split(SEPARATOR, 5)
    queue, tenant, fairness = flow.split("/", 2)
    if AFTER in fairness:
        fairness = fairness.replace(f"{AFTER}a", SEPARATOR).replace(f"{AFTER}b", AFTER)
    return Lane(queue, tenant, fairness, isolation, level, tool, version, concurrency)


def flow_of(lane: str) -> str:
    return lane[: lane.index(SEPARATOR)]


def runnable(lane: Lane, *, tools: frozenset[tuple[str, str]], levels: frozenset[str]) -> bool:
    """Whether this executor knows the tool and its workers proved the level, or a stronger one."""
    if (lane.tool, lane.version) not in tools:
        return False
    if lane.level not in _LEVELS:
        return False
    return any(level in levels for level in _LEVELS[_LEVELS.index(lane.level) :])
