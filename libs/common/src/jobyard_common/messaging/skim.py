"""Reading a topic for the few records that somebody waits for: the others are passed without being taken apart.

aiokafka makes an object with all its headers of every record that it hands out. Whoever follows a topic only while
somebody looks pays that for every record and needs hardly any. This takes what the client has fetched before that is
done: a batch that nobody can want is passed by its head alone, and of the others only the wanted records are handed
out. It reaches into the client for that (aiokafka 0.14); the tests on a real broker pin what it relies on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException

Wants = Callable[[str, bytes | None], bool]
"""Whether somebody waits for a record, by the topic's full name and the key."""


class Skimmer:
    """Of one consumer without a group and without transactions; nobody else may take records from it."""

    def __init__(self, consumer: AIOKafkaConsumer, *, idle: Callable[[], bool], wants: Wants) -> None:
        self._consumer = consumer
        self._fetcher: Any = consumer._fetcher
        self._idle = idle
        self._wants = wants

    async def take(self, *, timeout_s: float) -> list[Any]:
        """The wanted ones of the records that have come, or come first within `timeout_s`; perhaps none.

        Raises:
            KafkaError: as `getmany` does.
        """
        fetcher = self._fetcher
        self._consumer._coordinator.check_errors()
        if not fetcher._records:
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=timeout_s)
            if not done:
                waiter.cancel()
                return []
            waiter.result()
        found: list[Any] = []
        for place in list(fetcher._records):
            result = fetcher._records[place]
            if isinstance(result, FetchResult):
                found += self._of(place, result)
                del fetcher._records[place]
            elif not found:
                # An error, which the client knows how to tell; what was found before goes out first.
                await self._consumer.getmany(place, timeout_ms=0)
        fetcher._notify(fetcher._wait_consume_future)
        return found

    def _of(self, place: TopicPartition, result: FetchResult) -> Iterator[Any]:
        if not result.check_assignment(place) or not result.has_more():
            return
        fetched = result._partition_records
        batches = fetched._records
        idle, topic = self._idle(), place.topic
        while batches.has_next():
            batch = batches.next_batch()
            if not idle and not batch.is_control_batch:
                if not batch.validate_crc():
                    raise CorruptRecordException(f"Invalid CRC - {place}")
                for record in batch:
                    if record.offset >= fetched.next_fetch_offset and self._wants(topic, record.key):
                        yield fetched._consumer_record(place, record)
            fetched.next_fetch_offset = batch.next_offset
        result._update_position()
        result._partition_records = None
