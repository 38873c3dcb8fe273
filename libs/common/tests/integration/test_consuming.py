"""The consumer loop and the relay on a real broker and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from jobyard_common.contracts import topics
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.messaging.kafka import partition_of
from jobyard_common.messaging.outbox import Relay
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually

from .consuming import TOPIC, Bench, run


def test_effects_offsets_and_dead_letters_are_one_transaction(database: Any, servers: Any, topic_prefix: str) -> None:
    async def story(bench: Bench) -> None:
        relay = Relay(bench.pool, bench.publisher, tracer=Tracer("test"), lock_name="test")
        loop = bench.loop()
        await relay.start()
        await loop.start()
        poison = '"\\u0000"'
        rows = [(f"k{n}", f"v{n}".encode(), "") for n in range(20)]
        rows[7] = ("k7", b"refuse me", "")
        rows[11] = ("k11", b"poison", poison)
        await bench.send(*rows)
        assert sorted(await bench.stored(18)) == sorted(f"v{n}" for n in range(20) if n not in (7, 11))
        dead = {row.key: dict(row.headers) for row in await bench.read(topics.dlt(TOPIC), 2)}
        assert dead[b"k7"]["dlt-reason"] == b"test"
        assert dead[b"k11"]["dlt-reason"] == b"unstorable" and dead[b"k11"]["document"] == poison.encode()
        assert dead[b"k11"]["dlt-original-topic"] == b"jobs.commands"
        assert len(await bench.read("jobs.events", 18)) == 18
        await relay.drain()
        await relay.stop()
        await loop.stop()
        assert await bench.pool.fetchval("SELECT count(*) FROM outbox") == 0

    run(database, servers, topic_prefix, story)


def test_a_new_consumer_goes_on_where_postgres_says(database: Any, servers: Any, topic_prefix: str) -> None:
    async def story(bench: Bench) -> None:
        first = bench.loop()
        await first.start()
        await bench.send(*((f"k{n}", b"a", "") for n in range(50)))
        await bench.stored(50)
        await first.drain()
        await first.stop()
        await bench.send(*((f"k{n}", b"b", "") for n in range(50)))
        second = bench.loop()
        await second.start()
        assert len(await bench.stored(100)) == 100
        assert len(set(bench.applied)) == len(bench.applied) == 100
        await second.stop()

    run(database, servers, topic_prefix, story)


def test_a_batch_is_repeated_when_its_connection_goes(database: Any, servers: Any, topic_prefix: str) -> None:
    async def story(bench: Bench) -> None:
        tries = 0

        async def shaky(connection: Any, batch: list[Inbound]) -> Sequence[Refused]:
            nonlocal tries
            tries += 1
            await bench.apply(connection, batch)
            if tries == 1:
                raise asyncpg.ConnectionDoesNotExistError("gone while the batch was in hand")
            return []

        loop = bench.loop(shaky)
        await loop.start()
        await bench.send(("k", b"one", ""))
        assert await bench.stored(1) == ["one"]
        assert tries == 2
        await loop.stop()

    run(database, servers, topic_prefix, story)


def test_a_zombie_applies_nothing(database: Any, servers: Any, topic_prefix: str) -> None:
    """Another consumer took the first record while this one was fetching it."""

    async def story(bench: Bench) -> None:
        mine = partition_of(b"k", 2)
        loop = bench.loop()
        await loop.start()

        async def settled() -> bool:
            return bool(await bench.pool.fetchval("SELECT count(*) = 2 FROM consumer_offset"))

        await eventually(settled, what="both partitions assigned")
        await bench.pool.execute("UPDATE consumer_offset SET next = 1 WHERE partition = $1", mine)
        await bench.send(("k", b"the other one has it", ""))
        await bench.send(("k", b"two", ""))
        assert await bench.stored(1) == ["two"]
        await loop.stop()

    run(database, servers, topic_prefix, story)


def test_a_changed_past_stops_the_partition(database: Any, servers: Any, topic_prefix: str) -> None:
    """The record before our offset is not the one that was read: acknowledged records were lost."""

    async def story(bench: Bench) -> None:
        loop = bench.loop()
        await loop.start()
        (sent,) = await bench.send(("k", b"one", ""))
        await bench.stored(1)
        await loop.drain()
        await loop.stop()
        await bench.pool.execute(
            "UPDATE consumer_offset SET fingerprint = 'other' WHERE partition = $1", sent.partition
        )
        again = bench.loop()
        await again.start()

        async def stopped() -> bool:
            return f"partition {sent.partition}" in again.check().detail

        await bench.send(("k", b"two", ""))
        await eventually(stopped, what="the stop of the partition")
        assert await bench.stored(1) == ["one"]
        await again.stop()

    run(database, servers, topic_prefix, story)


@pytest.mark.parametrize("end", [10**6])
def test_an_offset_beyond_the_end_stops_the_partition(database: Any, servers: Any, topic_prefix: str, end: int) -> None:
    async def story(bench: Bench) -> None:
        loop = bench.loop()
        await loop.start()
        await bench.send(("k", b"one", ""))
        await bench.stored(1)
        await loop.drain()
        await loop.stop()
        await bench.pool.execute("UPDATE consumer_offset SET next = $1 WHERE next > 0", end)
        again = bench.loop()
        await again.start()

        async def stopped() -> bool:
            return "Kafka lost some" in again.check().detail

        await eventually(stopped, what="the stop of the partition")
        await again.stop()

    run(database, servers, topic_prefix, story)


def test_a_broken_producer_is_replaced(database: Any, servers: Any, topic_prefix: str) -> None:
    """What aiokafka does when the broker refuses its sequence numbers: the sender ends, and nothing is sent again."""

    async def story(bench: Bench) -> None:
        await bench.send(("k", b"one", ""))
        broken = bench.publisher._producer
        assert broken is not None
        broken._sender.sender_task.cancel()

        async def replaced() -> bool:
            return bench.publisher._producer not in (None, broken)

        await eventually(replaced, what="a new producer")
        await bench.send(("k", b"two", ""))

    run(database, servers, topic_prefix, story)


class Shaky:
    """A pool whose next `failures` connections cannot be had."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.failures = 0

    def acquire(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise asyncpg.CannotConnectNowError("the database system is starting up")
        return self._pool.acquire()


def test_a_database_away_in_the_middle_of_a_batch_is_waited_for(database: Any, servers: Any, topic_prefix: str) -> None:
    """Also where asking for the offsets fails after the batch did: the consumer must not end its process."""

    async def story(bench: Bench) -> None:
        shaky, failed = Shaky(bench.pool), asyncio.Event()

        async def apply(connection: Any, batch: list[Inbound]) -> Sequence[Refused]:
            if not failed.is_set():
                failed.set()
                shaky.failures = 2
                raise ConnectionResetError("connection was closed in the middle of operation")
            return await bench.apply(connection, batch)

        loop = bench.loop(apply)
        loop._pool = shaky  # placements are made with it, too
        ended: list[BaseException] = []
        loop.on_failure = lambda _task, error: ended.append(error)
        await loop.start()
        await bench.send(*((f"k{n}", b"a", "") for n in range(5)))
        assert len(await bench.stored(5)) == 5 and failed.is_set() and ended == []
        await loop.drain()
        await loop.stop()

    run(database, servers, topic_prefix, story)
