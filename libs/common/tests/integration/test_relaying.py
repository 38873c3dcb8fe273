"""Two processes write one outbox on a real database; whoever relays it keeps the order of every key."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import asyncpg
from jobyard_common.db import tables
from jobyard_common.db.pool import create_pool
from jobyard_common.messaging import outbox
from jobyard_common.messaging.outbox import Relay
from jobyard_common.messaging.publisher import OutRecord, Sent
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually

PUT = outbox.PUT + " RETURNING id"
KILL_RELAYS = """
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE locktype = 'advisory' AND datname = current_database()
"""


class Topic:
    """What was published, in order."""

    def __init__(self) -> None:
        self.values: list[str] = []

    async def send_many(self, records: list[OutRecord]) -> list[Sent]:
        self.values += [(record.value or b"").decode() for record in records]
        return [Sent(0, number) for number in range(len(records))]

    async def until(self, count: int) -> None:
        async def there() -> bool:
            return len(self.values) >= count

        await eventually(there, what=f"{count} records", timeout_s=20)


class Writer:
    """One process: its connections, its relay, and transactions that tell of an aggregate which they lock."""

    def __init__(self, topic: Topic, name: str) -> None:
        self.topic, self.name = topic, name

    async def open(self, dsn: str, *, poll_s: float) -> None:
        self.pool = await create_pool(dsn, application_name=self.name, max_size=6)
        self.relay = Relay(
            self.pool,
            self.topic,  # type: ignore[arg-type]
            tracer=Tracer("test"),
            lock_name="relaying",
            poll_s=poll_s,
        )

    async def change(self, key: str, *, good: bool = True, wait: Awaitable[Any] | None = None) -> None:
        """Lock the aggregate, count it up, tell of it, and commit after `wait`."""
        async with self.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            n = await connection.fetchval("UPDATE aggregate SET n = n + 1 WHERE key = $1 RETURNING n", key)
            records = [OutRecord("t", key, f"{key}:{n}".encode(), [("n", b"1")])]
            ids = [row[0] for row in await connection.fetch(PUT, *outbox.columns(records))]
            self.relay.keep(ids, records)
            if wait is not None:
                await wait
            await (transaction.commit() if good else transaction.rollback())
        self.relay.wake()

    @property
    def begins(self) -> int:
        numbers = self.relay._numbers
        return 0 if numbers is None else numbers.begins(self.relay._kept)

    async def close(self) -> None:
        await self.relay.stop()
        self.pool.terminate()


Story = Callable[[Writer, Writer, Topic], Awaitable[None]]


@contextlib.asynccontextmanager
async def two_writers(dsn: str, topic: Topic, *, poll_s: float) -> AsyncIterator[tuple[Writer, Writer]]:
    connection = await asyncpg.connect(dsn)
    for statement in tables.ALL:
        await connection.execute(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    await connection.execute("CREATE TABLE aggregate (key text PRIMARY KEY, n integer NOT NULL DEFAULT 0)")
    await connection.execute("INSERT INTO aggregate SELECT 'k' || n FROM generate_series(0, 19) n")
    await connection.close()
    one, two = Writer(topic, "one"), Writer(topic, "two")
    await one.open(dsn, poll_s=poll_s)
    await two.open(dsn, poll_s=poll_s)
    try:
        yield one, two
    finally:
        await one.close()
        await two.close()


def run(dsn: str, story: Story, *, poll_s: float) -> None:
    async def main() -> None:
        topic = Topic()
        async with asyncio.timeout(60), two_writers(dsn, topic, poll_s=poll_s) as (one, two):
            await story(one, two, topic)

    asyncio.run(main())


def test_an_aggregate_that_moves_between_processes_keeps_its_order(database: Any) -> None:
    """The other process was given its number early and commits late; then ours tells of the same aggregate."""

    async def story(here: Writer, there: Writer, topic: Topic) -> None:
        await here.relay.start()
        await eventually(lambda: _true(here.begins == 1), what="the relay's locks", timeout_s=20)
        await here.change("k0")
        await eventually(lambda: _true(here.begins > 1), what="the end of older transactions", timeout_s=20)
        gate = asyncio.Event()
        late = asyncio.create_task(there.change("k1", wait=gate.wait()))
        await eventually(lambda: _rows(here, "SELECT last_value >= 2 FROM outbox_id_seq"), what="its number")
        await here.change("k2")
        await topic.until(2)
        # Time for looks at the transactions: this one is still open.
        await asyncio.sleep(0.5)
        assert here.begins == 2
        # From here on no round begins at the beginning by itself.
        here.relay._poll_s = 3600.0
        await asyncio.sleep(0.3)
        gate.set()
        await late
        await here.change("k1")
        await topic.until(4)
        assert topic.values == ["k0:1", "k2:1", "k1:1", "k1:2"]

    run(database.empty("monitor"), story, poll_s=0.05)


def test_no_key_is_out_of_order_while_relays_die_and_transactions_fail(database: Any) -> None:
    async def story(one: Writer, two: Writer, topic: Topic) -> None:
        await one.relay.start()
        await two.relay.start()
        rng = Random(11)

        async def work(writer: Writer, seed: int) -> None:
            mine = Random(seed)
            for _ in range(40):
                key, good = f"k{mine.randrange(20)}", mine.random() < 0.85
                await writer.change(key, good=good, wait=asyncio.sleep(mine.random() * 0.02))

        tasks = [asyncio.create_task(work(writer, 10 * n + k)) for n, writer in enumerate((one, two)) for k in range(3)]
        for _ in range(3):
            await asyncio.sleep(0.3)
            await rng.choice((one, two)).pool.execute(KILL_RELAYS)
        await asyncio.gather(*tasks)
        await eventually(lambda: _rows(one, "SELECT NOT EXISTS (SELECT FROM outbox)"), what="an empty outbox",
                         timeout_s=30)  # fmt: skip
        first: dict[str, list[int]] = defaultdict(list)
        for value in dict.fromkeys(topic.values):
            key, _, n = value.partition(":")
            first[key].append(int(n))
        changed = await one.pool.fetch("SELECT key, n FROM aggregate WHERE n > 0")
        assert first == {row["key"]: list(range(1, row["n"] + 1)) for row in changed}

    run(database.empty("monitor"), story, poll_s=0.2)


async def _true(value: bool) -> bool:
    return value


async def _rows(writer: Writer, query: str) -> bool:
    return bool(await writer.pool.fetchval(query))
