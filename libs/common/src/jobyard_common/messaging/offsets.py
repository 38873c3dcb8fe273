"""Offsets in PostgreSQL: they move in the same transaction as the effects, by compare-and-set.

They are kept by the ids of cluster and topic (`identity`, in the column `cluster_id`), so that a broker or a topic made
anew is never mistaken for one that lost records. Beside each stands a fingerprint of the record before it: if that
record is another one later, Kafka lost some and appended others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobyard_common.db.connection import Connection
from jobyard_common.messaging.identity import cluster_of
from jobyard_common.telemetry.logging import get_logger

# Rows from before topics were told apart have the cluster's id alone.
ADOPT = """
UPDATE consumer_offset o SET cluster_id = $1 WHERE o.cluster_id = $2 AND o.topic = $3 AND NOT EXISTS (
    SELECT FROM consumer_offset n WHERE n.cluster_id = $1 AND n.topic = $3 AND n.partition = o.partition)
"""
ENSURE = """
INSERT INTO consumer_offset (cluster_id, topic, partition, next)
SELECT $1, $2, p, 0 FROM unnest($3::int[]) p ON CONFLICT DO NOTHING RETURNING partition
"""
BEFORE = """
SELECT DISTINCT ON (partition) partition, cluster_id, next FROM consumer_offset
WHERE topic = $2 AND cluster_id <> $1 AND partition = ANY($3::int[]) ORDER BY partition, updated_at DESC
"""
LOAD = """
SELECT partition, next, fingerprint FROM consumer_offset
WHERE cluster_id = $1 AND topic = $2 AND partition = ANY($3::int[])
"""
MOVE = """
UPDATE consumer_offset o SET next = m.next, fingerprint = m.fingerprint, updated_at = now()
FROM unnest($3::int[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bytea[])
    AS m (partition, old, before, next, fingerprint)
WHERE o.cluster_id = $1 AND o.topic = $2 AND o.partition = m.partition AND o.next = m.old
    AND o.fingerprint IS NOT DISTINCT FROM m.before
"""


log = get_logger("offsets")


class Superseded(Exception):
    """Another consumer moved the offset: we are a zombie, and nothing of this batch may be applied."""


@dataclass(frozen=True)
class Position:
    next: int
    fingerprint: bytes | None


async def load(connection: Connection, *, identity: str, topic: str, partitions: list[int]) -> dict[int, Position]:
    """Where to go on; a partition without a row begins at 0, never at its end."""
    if cluster_of(identity) != identity:
        await connection.execute(ADOPT, identity, cluster_of(identity), topic)
    made = [row[0] for row in await connection.fetch(ENSURE, identity, topic, sorted(partitions))]
    for number, before, read in await connection.fetch(BEFORE, identity, topic, made) if made else ():
        log.warning("topic.made_anew", topic=topic, partition=number, before=before, now=identity, read_before=read)
    rows = await connection.fetch(LOAD, identity, topic, partitions)
    return {row["partition"]: Position(row["next"], row["fingerprint"]) for row in rows}


@dataclass(frozen=True)
class Move:
    """From `old` behind the record `before` to `next`, behind the record `fingerprint`.

    The number alone is not enough: after a fail-over, a consumer that fetched before Kafka lost records may have
    brought PostgreSQL to our number by another record.
    """

    partition: int
    old: int
    before: bytes | None
    next: int
    fingerprint: bytes


async def move(connection: Connection, moves: list[Move], *, identity: str, topic: str) -> None:
    """First statement of a consuming transaction.

    Raises:
        Superseded: an offset is no longer where we left it.
    """
    ordered = sorted(moves, key=lambda one: one.partition)
    status = await connection.execute(
        MOVE,
        identity,
        topic,
        [one.partition for one in ordered],
        [one.old for one in ordered],
        [one.before for one in ordered],
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

    def follow(self, positions: Mapping[int, int]) -> None:
        """These are read here now; how far others have come is not known here any more."""
        if self.next != positions:
            self.next = dict(positions)
            self._tell()

    def advance(self, partition: int, upto: int) -> None:
        self.next[partition] = upto
        self._tell()

    def passed(self, partition: int, offset: int) -> bool:
        return self.next.get(partition, 0) > offset

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

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
