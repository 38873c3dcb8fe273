"""Dead-letter topics, read where they are: no copy of them that could be wrong, and no cost while nobody looks.

A page takes the newest records of every partition and merges them by time; its cursor is one offset a partition.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from jobyard_common.messaging.inbound import Inbound, inbound_of
from jobyard_common.messaging.kafka import MAX_REQUEST_BYTES, KafkaSettings

from jobyard_executor.domain.dead_message import ORIGINAL, Place

LIMIT_S = 8.0
MOST_READ = 5_000
Ends = dict[str, int]
Wanted = Callable[[Inbound], bool]


class TopicsAway(Exception):
    """Kafka did not answer in time; nothing can be said about dead letters."""


class BadCursor(ValueError):
    """Not a cursor of this list."""


class DeadTopics:
    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def page(
        self, topics: Sequence[str], *, wanted: Wanted, cursor: str | None, limit: int
    ) -> tuple[list[Inbound], str | None]:
        """The newest records that are wanted, and where the next page begins.

        A page may be short: reading stops after `MOST_READ` records, and the cursor goes on there.

        Raises:
            TopicsAway, BadCursor.
        """
        known = _decoded(cursor)
        async with self._reader(topics) as (consumer, partitions):
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            for one in partitions:
                ends[one] = min(ends[one], known.get(self._name(one), ends[one]))
            found: list[Inbound] = []
            read = 0
            while len(found) < limit and read < MOST_READ:
                left = [one for one in partitions if ends[one] > begins[one]]
                if not left:
                    break
                starts = {one: max(begins[one], ends[one] - limit) for one in left}
                rows = await self._read(consumer, starts, ends)
                read += len(rows)
                for row in _newest_first(rows):
                    if len(found) == limit:
                        break
                    ends[self._partition(row)] = row.offset
                    if wanted(row):
                        found.append(row)
                else:
                    ends |= starts
            more = any(ends[one] > begins[one] for one in partitions)
        return found, _encoded({self._name(one): ends[one] for one in partitions}) if more else None

    async def get(self, place: Place) -> Inbound | None:
        """One record, None if it is gone. Raises TopicsAway."""
        one = TopicPartition(self._kafka.topic(place.topic), place.partition)
        async with self._reader([place.topic]) as (consumer, partitions):
            if one not in partitions:
                return None
            begin = (await consumer.beginning_offsets([one]))[one]
            end = (await consumer.end_offsets([one]))[one]
            if not begin <= place.offset < end:
                return None
            rows = await self._read(consumer, {one: place.offset}, {one: place.offset + 1})
        return rows[0] if rows else None

    @asynccontextmanager
    async def _reader(self, topics: Sequence[str]) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        """A consumer, and the partitions of those of the topics that exist."""
        consumer = AIOKafkaConsumer(
            *map(self._kafka.topic, topics),
            bootstrap_servers=self._kafka.bootstrap,
            client_id=f"{self._kafka.client_id}-dead-letters",
            enable_auto_commit=False,
            auto_offset_reset="none",
            request_timeout_ms=int(LIMIT_S * 1000),
            max_partition_fetch_bytes=2 * MAX_REQUEST_BYTES,
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                await consumer.start()
                # Without a group, naming the topics assigns every partition of them at the start.
                partitions = sorted(consumer.assignment())
                consumer.unsubscribe()
                yield consumer, partitions
        except (KafkaError, OSError, TimeoutError) as error:
            raise TopicsAway(f"{type(error).__name__}: {error}") from None
        finally:
            with suppress(KafkaError, OSError):
                await consumer.stop()

    async def _read(
        self,
        consumer: AIOKafkaConsumer,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> list[Inbound]:
        """Every record from `starts` to before `ends`."""
        consumer.assign(list(starts))
        for one, offset in starts.items():
            consumer.seek(one, offset)
        found: list[Inbound] = []
        open_ = {one for one, offset in starts.items() if offset < ends[one]}
        while open_:
            for one, rows in (await consumer.getmany(*open_, timeout_ms=200)).items():
                name = one.topic.removeprefix(self._kafka.topic_prefix)
                found += [inbound_of(row, topic=name) for row in rows if row.offset < ends[one]]
            open_ = {one for one in open_ if await consumer.position(one) < ends[one]}
        return found

    def _name(self, one: TopicPartition) -> str:
        return f"{one.topic.removeprefix(self._kafka.topic_prefix)}:{one.partition}"

    def _partition(self, row: Inbound) -> TopicPartition:
        return TopicPartition(self._kafka.topic(row.topic), row.partition)


def _newest_first(rows: Sequence[Inbound]) -> list[Inbound]:
    """By time, but never a record of a partition before a later one of it: its cursor is one offset."""
    times: dict[tuple[str, int], int] = {}
    ordered = []
    for row in sorted(rows, key=lambda row: row.offset):
        one = (row.topic, row.partition)
        times[one] = max(times.get(one, 0), row.timestamp_ms)
        ordered.append((times[one], row.offset, row))
    return [row for _, _, row in sorted(ordered, key=lambda each: each[:2], reverse=True)]


def _encoded(ends: Ends) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(ends)).decode().rstrip("=")


def _decoded(cursor: str | None) -> Ends:
    if not cursor:
        return {}
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        ends = msgspec.json.decode(text, type=Ends)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise BadCursor from None
    if any(offset < 0 or name.partition(":")[0] not in ORIGINAL for name, offset in ends.items()):
        raise BadCursor
    return ends
