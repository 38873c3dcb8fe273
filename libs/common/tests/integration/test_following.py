"""A read model's loop on a real broker and a real database."""

from __future__ import annotations

import asyncio
from typing import Any

from jobyard_common.contracts import topics
from jobyard_common.db import tables
from jobyard_common.db.connection import Connection
from jobyard_common.db.pool import create_pool
from jobyard_common.messaging.following import Follower
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.publisher import OutRecord, Publisher
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually

TOPIC = topics.JOBS_EVENTS
WANTED = b"wanted"


def test_what_is_not_wanted_moves_offsets_and_a_restart_goes_on(database: Any, servers: Any, topic_prefix: str) -> None:
    """Few of many records are wanted; each of those is applied once, whatever is stopped in between."""
    kafka = KafkaSettings(servers.kafka, "test", topic_prefix)
    applied: list[bytes] = []
    seen: list[bytes] = []

    async def apply(_connection: Connection, batch: list[Inbound]) -> list[Refused]:
        seen.extend(record.key or b"" for record in batch)
        applied.extend(record.key or b"" for record in batch if record.value == WANTED)
        return []

    async def main() -> None:
        pool = await create_pool(database.empty("monitor"), application_name="test", max_size=4)
        for statement in tables.ALL:
            await pool.execute(statement)
        publisher = Publisher(kafka)
        await publisher.start()
        await publisher.connected()

        async def send(start: int, end: int) -> None:
            rows = [
                OutRecord(TOPIC.name, str(n), WANTED if n % 50 == 7 else b"other", [("n", b"1")])
                for n in range(start, end)
            ]
            await publisher.send_many(rows)

        async def read_until(count: int) -> None:
            loop = Follower(
                kafka,
                topic=TOPIC,
                group="test",
                instance_id="one",
                pool=pool,
                apply=apply,
                tracer=Tracer("test"),
                max_records=120,
                longest_s=0.02,
                wanted=lambda value: value == WANTED,
            )
            await loop.start()

            async def reached() -> bool:
                query = "SELECT coalesce(sum(next), 0) FROM consumer_offset WHERE topic = $1"
                return bool(await pool.fetchval(query, kafka.topic(TOPIC)) >= count)

            await eventually(reached, what=f"{count} records", timeout_s=20)
            assert loop.check().status == "ok"
            await loop.drain()
            await loop.stop()

        async with asyncio.timeout(90):
            await send(0, 1_000)
            await read_until(1_000)
            await send(1_000, 2_000)
            await read_until(2_000)
        await publisher.stop()
        await pool.close()

    asyncio.run(main())
    assert sorted(applied, key=int) == [str(n).encode() for n in range(7, 2_000, 50)]
    assert len(seen) < 1_500
