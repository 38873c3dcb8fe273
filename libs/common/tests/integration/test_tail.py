"""The tail and packed records on a real broker: every record that is wanted, and none that isn't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from jobyard_common.contracts.topics import JOBS_EVENTS, JOBS_OUTPUT
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.kafka import KafkaSettings, partition_of
from jobyard_common.messaging.packed import packed_headers, packed_record
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent
from jobyard_common.messaging.tail import Tail
from jobyard_common.testing.eventually import eventually

HEADERS = [("ce_id", b"evt"), ("odd", b"\xff\x00")]


class Listener:
    """Wants the keys it was told to."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.asleep = False
        self.all: list[Inbound] = []

    @property
    def found(self) -> list[Inbound]:
        return [row for row in self.all if row.key != b"hello"]

    def idle(self) -> bool:
        return self.asleep

    def wants(self, topic: str, key: bytes | None) -> bool:
        assert not self.asleep
        assert topic in (JOBS_EVENTS.name, JOBS_OUTPUT.name)
        return key in self.keys


def many(publisher: Publisher, name: str, count: int) -> Any:
    rows = [OutRecord(JOBS_EVENTS.name, f"{name}{n}", b"%d" % n, HEADERS) for n in range(count)]
    return publisher.send_many(rows)


@asynccontextmanager
async def publishing(kafka: KafkaSettings) -> AsyncIterator[Publisher]:
    publisher = Publisher(kafka)
    await publisher.start()
    await publisher.connected()
    try:
        yield publisher
    finally:
        await publisher.stop()


async def until(check: Callable[[], bool], what: str) -> None:
    async def probe() -> bool:
        return check()

    await eventually(probe, what=what)


async def listening(publisher: Publisher, listener: Listener) -> None:
    """Wait for the session of a tail that was started."""
    listener.keys.add(b"hello")

    async def greeted() -> bool:
        await publisher.send(OutRecord(JOBS_EVENTS.name, "hello", b"", []))
        return bool(listener.all)

    await eventually(greeted, what="a session")
    listener.keys.discard(b"hello")


def tail_of(kafka: KafkaSettings, listener: Listener) -> Tail:
    return Tail(
        kafka,
        [JOBS_EVENTS, JOBS_OUTPUT],
        listener.all.extend,
        idle=listener.idle,
        wants=listener.wants,
    )


def told(servers: Any, prefix: str, story: Callable[[KafkaSettings, Publisher], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        kafka = KafkaSettings(servers.kafka, "test", prefix)
        async with publishing(kafka) as publisher:
            await story(kafka, publisher)

    asyncio.run(asyncio.wait_for(all_of_it(), 60))


def test_only_what_is_wanted_comes_out(servers: Any, topic_prefix: str) -> None:
    async def story(kafka: KafkaSettings, publisher: Publisher) -> None:
        listener = Listener()
        listener.keys = {b"b7", b"b500", b"d3"}
        tail = tail_of(kafka, listener)
        assert all(isinstance(answer, Sent) for answer in await many(publisher, "b", 10)), "before the tail looks"
        await tail.start()
        try:
            await listening(publisher, listener)
            await many(publisher, "b", 600)
            await until(lambda: len(listener.found) == 2, "two of 600")
            rows = {row.key: row for row in listener.found}
            assert rows[b"b500"].value == b"500" and rows[b"b500"].topic == JOBS_EVENTS.name
            assert rows[b"b500"].partition == partition_of(b"b500", await publisher.partitions(JOBS_EVENTS.name))
            assert list(rows[b"b500"].headers) == HEADERS

            listener.asleep = True
            await many(publisher, "c", 50)
            listener.asleep = False
            tail.attend()
            await many(publisher, "d", 50)
            await until(lambda: len(listener.found) == 3, "the one that came after somebody listened again")
            await publisher.send(OutRecord(JOBS_OUTPUT.name, "d3", None, []))
            await until(lambda: len(listener.found) == 4, "one without a value, of the other topic")
            assert (listener.found[-1].topic, listener.found[-1].value) == (JOBS_OUTPUT.name, None)
        finally:
            await tail.stop()

    told(servers, topic_prefix, story)


def test_whoever_attends_sees_what_was_published_after(servers: Any, topic_prefix: str) -> None:
    async def story(kafka: KafkaSettings, publisher: Publisher) -> None:
        listener = Listener()
        tail = tail_of(kafka, listener)
        await tail.start()
        try:
            await listening(publisher, listener)
            listener.asleep = True
            for n in range(30):
                listener.keys, listener.asleep = {b"k%d" % n}, False
                tail.attend()
                await publisher.send(OutRecord(JOBS_EVENTS.name, f"k{n}", b"v", []))
                await until(lambda: len(listener.found) == n + 1, f"record {n}")  # noqa: B023
                listener.asleep = True
        finally:
            await tail.stop()

    told(servers, topic_prefix, story)


def test_packed_records_arrive_as_any_others(servers: Any, topic_prefix: str) -> None:
    async def story(kafka: KafkaSettings, publisher: Publisher) -> None:
        keys = [b"key-%d" % n for n in range(3_000)]
        rows = [(key, packed_record(key, b"v" * n, packed_headers(HEADERS))) for n, key in enumerate(keys)]
        lots = await publisher.send_packed(JOBS_EVENTS.name, rows)
        where = {}
        for lot in lots:
            assert isinstance(lot.answer, Sent)
            where |= {
                (lot.answer.partition, lot.answer.offset + place): number for place, number in enumerate(lot.numbers)
            }
        assert sorted(where.values()) == list(range(3_000))
        topic = kafka.topic(JOBS_EVENTS)
        consumer = AIOKafkaConsumer(bootstrap_servers=servers.kafka, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, n) for n in range(await publisher.partitions(JOBS_EVENTS.name))])
            for _ in range(3_000):
                row = await asyncio.wait_for(consumer.getone(), 10)
                number = where.pop((row.partition, row.offset))
                assert (row.key, row.value, list(row.headers)) == (keys[number], b"v" * number, HEADERS)
        finally:
            await consumer.stop()

    told(servers, topic_prefix, story)
