"""Offsets in PostgreSQL: they move in the same transaction as the effects, by compare-and-set.

They are kept by cluster id, so that a broker made anew is never mistaken for one that lost records. Beside each stands
a fingerprint of the record before it: if that record is another one later, Kafka lost some and appended others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobyard_common.db.connection import Connection

ENSURE = """
INSERT INTO consumer_offset (cluster_id, topic, partition, next)
SELECT $1, $2, p, 0 FROM unnest($3::int[]) p ON CONFLICT DO NOTHING
"""
LOAD = """
SELECT partition, next, fingerprint FROM consumer_offset
WHERE cluster_id = $1 AND topic = $2 AND partition = ANY($3::int[])
"""
MOVE = """
UPDATE consumer_offset o SET next = m.next, fingerprint = m.fingerprint, updated_at = now()
FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::bytea[]) AS m (partition, old, next, fingerprint)
WHERE o.cluster_id = $1 AND o.topic = $2 AND o.partition = m.partition AND o.next = m.old
"""


class Superseded(Exception):
    """Another consumer moved the offset: we are a zombie, and nothing of this batch may be applied."""


@dataclass(frozen=True)
class Position:
    next: int
    fingerprint: bytes | None


async def load(connection: Connection, *, cluster_id: str, topic: str, partitions: list[int]) -> dict[int, Position]:
    """Where to go on; a partition without a row begins at 0, never at its end."""
    await connection.execute(ENSURE, cluster_id, topic, sorted(partitions))
    rows = await connection.fetch(LOAD, cluster_id, topic, partitions)
    return {row["partition"]: Position(row["next"], row["fingerprint"]) for row in rows}


@dataclass(frozen=True)
class Move:
    partition: int
    old: int
    next: int
    fingerprint: bytes


async def move(connection: Connection, moves: list[Move], *, cluster_id: str, topic: str) -> None:
    """First statement of a consuming transaction.

    Raises:
        Superseded: an offset is no longer where we left it.
    """
    ordered = sorted(moves, key=lambda one: one.partition)
    status = await connection.execute(
        MOVE,
        cluster_id,
        topic,
        [one.partition for one in ordered],
        [one.old for one in ordered],
        [one.next for one in ordered],
        [one.fingerprint for one in ordered],
    )
    if int(status.rpartition(" ")[2]) != len(ordered):
        raise Superseded


@dataclass
class Progress:
    """How far this process has applied each partition; readers wait here for their own writes."""

    next: dict[int, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self, partition: int, upto: int) -> None:
        self.next[partition] = upto
        self._changed.set()
        self._changed = asyncio.Event()

    def passed(self, partition: int, offset: int) -> bool:
        return self.next.get(partition, 0) > offset

    async def wait(self, after: Mapping[int, int], *, timeout_s: float) -> bool:
        """Wait until every partition has passed its offset; False when the time ran out first."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not all(self.passed(partition, offset) for partition, offset in after.items()):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                return False
        return True
