"""A record that has to wait holds its partition back, and no other."""

from __future__ import annotations

from typing import Any

from jobyard_common.messaging.consumer import ConsumerLoop
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.kafka import partition_of
from jobyard_common.messaging.placement import Hold
from jobyard_common.testing.eventually import eventually

from .consuming import TOPIC, Bench, run


def test_a_record_that_must_wait_holds_its_partition_and_no_other(
    database: Any, servers: Any, topic_prefix: str
) -> None:
    full = True

    async def prepare(batch: list[Inbound]) -> dict[int, Hold]:
        holds: dict[int, Hold] = {}
        for row in batch:
            if full and row.value == b"wait":
                holds.setdefault(row.partition, Hold(row.offset, "the queue is full"))
        return holds

    async def story(bench: Bench) -> None:
        nonlocal full
        loop = bench.loop(prepare=prepare)
        await loop.start()
        count = await bench.publisher.partitions(TOPIC.name)
        keys = (f"k{n}" for n in range(99))
        here, there = "k0", next(k for k in keys if partition_of(k.encode(), count) != partition_of(b"k0", count))
        sent = await bench.send((here, b"before", ""), (here, b"wait", ""), (here, b"behind", ""), (there, b"x", ""))
        assert sorted(await bench.stored(2)) == ["before", "x"]
        await eventually(lambda: held(loop), what="the pause in readiness")
        assert loop.check().detail == f"partition {sent[0].partition} waits: the queue is full"
        await bench.send((there, b"y", ""), (here, b"last", ""))
        assert sorted(await bench.stored(3)) == ["before", "x", "y"]
        full = False
        assert sorted(await bench.stored(6)) == ["before", "behind", "last", "wait", "x", "y"]
        assert loop.check().status == "ok"
        mine = [offset for partition, offset in bench.applied if partition == sent[0].partition]
        assert mine == sorted(set(mine)), "each once, in order"
        await loop.drain()
        await loop.stop()

    async def held(loop: ConsumerLoop) -> bool:
        return loop.check().status == "degraded"

    run(database, servers, topic_prefix, story)
