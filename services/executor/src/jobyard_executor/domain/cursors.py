"""Where a claimer stands in its walk over the lanes: a cursor for every queue and every flow that has too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobyard_executor.domain.lane import AFTER

LEAST_FLOWS, LEAST_LANES = 8, 4
FEW = 64
"""Below this many lanes all of them are looked at, without cursors."""


class Seen(Protocol):
    """One lane of a step; a flow whose lanes all lie before its cursor has none."""

    @property
    def queue(self) -> str: ...

    @property
    def flow(self) -> str: ...

    @property
    def lane(self) -> str | None: ...


class Cursors:
    """About `most_lanes` lanes a step, divided by what the step before has seen: few flows show many lanes each, many
    flows a few. Whoever waits is met within (flows / `most_flows`) + (own lanes / 4) steps, whatever the others do."""

    def __init__(self, *, most_flows: int, most_lanes: int) -> None:
        self.flows_after: dict[str, str] = {}
        self.lanes_after: dict[str, str] = {}
        self.flows = self._most_flows = most_flows
        self.lanes, self._most_lanes = LEAST_LANES, most_lanes
        self.few = True

    @property
    def begun(self) -> bool:
        """Whether something lies before a cursor."""
        return bool(self.flows_after or self.lanes_after)

    def move(self, found: Sequence[Seen]) -> None:
        """Go on behind what this step has seen; what was seen to its end begins anew."""
        lanes: dict[str, int] = {}
        flows: dict[str, set[str]] = {}
        inside: dict[str, str] = {}
        for row in found:
            flows.setdefault(row.queue, set()).add(row.flow)
            if row.lane is not None:
                lanes[row.flow] = lanes.get(row.flow, 0) + 1
                inside[row.flow] = max(inside.get(row.flow, ""), row.lane)
        self.lanes_after = {flow: inside[flow] for flow, count in lanes.items() if count >= self.lanes}
        self.flows_after = {queue: max(names) + AFTER for queue, names in flows.items() if len(names) >= self.flows}
        self.flows = max(LEAST_FLOWS, self._most_flows // max(1, len(flows)))
        self.lanes = max(LEAST_LANES, self._most_lanes // max(1, sum(map(len, flows.values()))))
        self.few = not self.begun and sum(lanes.values()) < FEW // 2
