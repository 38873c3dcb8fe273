"""Where a claimer stands in its walk over the lanes: a cursor for every queue and every flow that has too many."""

from __future__ import annotations

from collections.abc import Collection

from jobyard_common.db.connection import Connection

from jobyard_executor.domain.lane import AFTER
from jobyard_executor.store import claiming
from jobyard_executor.store.claiming import MAX_FLOWS, MAX_LANES, Found

LEAST_FLOWS, LEAST_LANES = 8, 4
FEW = 64
"""Below this many lanes all of them are looked at, without cursors."""


class Walk:
    """About `MAX_LANES` lanes a step, divided by what the step before has seen: few flows show many lanes each, many
    flows a few. Whoever waits is met within (flows / 48) + (own lanes / 4) steps, whatever the others do."""

    def __init__(self) -> None:
        self._flows_after: dict[str, str] = {}
        self._lanes_after: dict[str, str] = {}
        self._flows = MAX_FLOWS
        self._lanes = LEAST_LANES
        self._few = True

    @property
    def begun(self) -> bool:
        """Whether something lies before a cursor."""
        return bool(self._flows_after or self._lanes_after)

    async def step(
        self, connection: Connection, *, queues: Collection[str] | None, without: Collection[str]
    ) -> list[Found]:
        if self._few and queues is None:
            found = await claiming.first_lanes(connection, limit=FEW)
            if len(found) < FEW:
                return [row for row in found if row.queue not in without and (queues is None or row.queue in queues)]
        found = await claiming.lanes(
            connection,
            queues=None if queues is None else list(queues),
            without=list(without),
            flows_after=self._flows_after,
            lanes_after=self._lanes_after,
            flows=self._flows,
            lanes=self._lanes,
        )
        self._move(found)
        return found

    def _move(self, found: list[Found]) -> None:
        lanes: dict[str, int] = {}
        flows: dict[str, set[str]] = {}
        inside: dict[str, str] = {}
        for row in found:
            flows.setdefault(row.queue, set()).add(row.flow)
            if row.lane is not None:
                lanes[row.flow] = lanes.get(row.flow, 0) + 1
                inside[row.flow] = max(inside.get(row.flow, ""), row.lane)
        self._lanes_after = {flow: inside[flow] for flow, count in lanes.items() if count >= self._lanes}
        self._flows_after = {queue: max(names) + AFTER for queue, names in flows.items() if len(names) >= self._flows}
        self._flows = max(LEAST_FLOWS, MAX_FLOWS // max(1, len(flows)))
        self._lanes = max(LEAST_LANES, MAX_LANES // max(1, sum(map(len, flows.values()))))
        self._few = not self.begun and sum(lanes.values()) < FEW // 2
