"""A consumer on a real broker and a real database, and what tests need beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from jobyard_common.contracts import topics
from jobyard_common.db import tables
from jobyard_common.db.pool import create_pool
from jobyard_common.messaging.consumer import ConsumerLoop
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.outbox import put
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually

TOPIC = topics.JOBS_COMMANDS


class Bench:
    """A consumer that stores what it reads, and what it needs."""

    def __init__(self, dsn: str, servers: Any, prefix: str) -> None:
        self.dsn = dsn
        self.kafka = KafkaSettings(servers.kafka, "test", prefix)
        self.applied: list[tuple[int, int]] = []

    async def __aenter__(self) -> Bench:
        self.pool = await create_pool(self.dsn, application_name="test", max_size=6)
        async with self.pool.acquire() as connection:
            for statement in tables.ALL:
                await connection.execute(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
            await connection.execute("CREATE TABLE IF NOT EXISTS got (k text, v text, document jsonb)")
        self.publisher = Publisher(self.kafka)
        await self.publisher.start()
        await self.publisher.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.publisher.stop()
        self.pool.terminate()

    async def apply(self, connection: Any, batch: list[Inbound]) -> Sequence[Refused]:
        good = [row for row in batch if row.value != b"refuse me"]
        await connection.executemany(
            "INSERT INTO got VALUES ($1, $2, $3)",
            [(row.key.decode(), row.value.decode(), row.header("document") or None) for row in good],
        )
        await put(connection, [OutRecord("jobs.events", row.key, row.value, [("n", b"1")]) for row in good])
        self.applied += [(row.partition, row.offset) for row in batch]
        return [Refused(row, "test", "as asked") for row in batch if row.value == b"refuse me"]

    def loop(self, apply: Callable[..., Awaitable[Sequence[Refused]]] | None = None, **more: Any) -> ConsumerLoop:
        return ConsumerLoop(
            self.kafka,
            topic=TOPIC,
            group="test",
            instance_id="one",
            pool=self.pool,
            apply=apply or self.apply,
            tracer=Tracer("test"),
            **more,
        )

    async def send(self, *rows: tuple[str, bytes, str]) -> list[Sent]:
        headers = [[("document", document.encode())] if document else [] for _, _, document in rows]
        records = [OutRecord(TOPIC.name, key, value, head) for (key, value, _), head in zip(rows, headers, strict=True)]
        answers = await self.publisher.send_many(records)
        assert all(isinstance(answer, Sent) for answer in answers)
        return [answer for answer in answers if isinstance(answer, Sent)]

    async def stored(self, count: int) -> list[str]:
        async def probe() -> list[str] | None:
            rows = await self.pool.fetch("SELECT v FROM got")
            return [row["v"] for row in rows] if len(rows) >= count else None

        return await eventually(probe, what=f"{count} rows", timeout_s=20)

    async def read(self, topic: str, count: int) -> list[Any]:
        name = self.kafka.topic(topic)
        consumer = AIOKafkaConsumer(name, bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            found: list[Any] = []
            async with asyncio.timeout(15):
                while len(found) < count:
                    for rows in (await consumer.getmany(timeout_ms=200)).values():
                        found += rows
            return found
        finally:
            await consumer.stop()


def run(database: Any, servers: Any, prefix: str, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Bench(database.empty("monitor"), servers, prefix) as bench:
            await story(bench)

    asyncio.run(main())
