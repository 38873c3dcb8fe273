"""One step of a claimer over the lanes."""

from __future__ import annotations

from collections.abc import Collection

from jobyard_common.db.connection import Connection

from jobyard_executor.domain.cursors import FEW, Cursors
from jobyard_executor.store import claiming
from jobyard_executor.store.claiming import MAX_FLOWS, MAX_LANES, Found


class Walk:
    """Remembers where the step before ended."""

    def __init__(self) -> None:
        self._cursors = Cursors(most_flows=MAX_FLOWS, most_lanes=MAX_LANES)

    @property
    def begun(self) -> bool:
        """Whether something lies before a cursor."""
        return self._cursors.begun

    async def step(
        self, connection: Connection, *, queues: Collection[str] | None, without: Collection[str]
    ) -> list[Found]:
        if self._cursors.few and queues is None:
            found = await claiming.first_lanes(connection, limit=FEW)
            if len(found) < FEW:
                return [row for row in found if row.queue not in without and (queues is None or row.queue in queues)]
        found = await claiming.lanes(
            connection,
            queues=None if queues is None else list(queues),
            without=list(without),
            flows_after=self._cursors.flows_after,
            lanes_after=self._cursors.lanes_after,
            flows=self._cursors.flows,
            lanes=self._cursors.lanes,
        )
        self._cursors.move(found)
        return found
