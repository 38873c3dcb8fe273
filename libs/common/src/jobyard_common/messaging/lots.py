"""Packed records on their way: divided by partition, each part sent in as few batches as their size allows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from jobyard_common.messaging.acknowledged import Lot, PublishFailed, answer_of, failed
from jobyard_common.messaging.kafka import MAX_REQUEST_BYTES, partition_of
from jobyard_common.messaging.packed import BATCH_BYTES, RECORD_BYTES, PackedBatch

LOT_BYTES = 256 * 1024
PackedRecord = tuple[bytes, bytes]
"""A key, and the `packed_record` of it."""


async def send_lots(
    producer: AIOKafkaProducer, topic: str, records: Sequence[PackedRecord], *, partitions: int, deadline: float
) -> list[Lot]:
    """Publish records; every one of them is in one lot. Those of one partition stay in their order.

    `topic` is the full name; `deadline` is the loop's time.
    """
    placed: dict[int, list[int]] = {}
    for number, (key, _) in enumerate(records):
        placed.setdefault(partition_of(key, partitions), []).append(number)
    if len(placed) == 1:
        ((partition, numbers),) = placed.items()
        return await _send_part(producer, topic, partition, records, numbers, deadline=deadline)
    parts = [
        _send_part(producer, topic, partition, records, numbers, deadline=deadline)
        for partition, numbers in placed.items()
    ]
    return [lot for lots in await asyncio.gather(*parts) for lot in lots]


async def _send_part(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[PackedRecord],
    numbers: Sequence[int],
    *,
    deadline: float,
) -> list[Lot]:
    """What has no answer when the time is up may still be delivered."""
    lots: list[Lot] = []
    pending: list[tuple[asyncio.Future[Any], Sequence[int]]] = []
    left = numbers
    try:
        async with asyncio.timeout_at(deadline):
            for fitting, size in _fitting(records, numbers):
                if size > MAX_REQUEST_BYTES:
                    lots.append(
                        Lot(fitting, PublishFailed("the record is larger than a request may be", permanent=True))
                    )
                else:
                    batch = PackedBatch([records[number][1] for number in fitting])
                    pending.append((await producer.send_batch(batch, topic, partition=partition), fitting))
                left = left[len(fitting) :]
            if pending:
                await asyncio.wait([future for future, _ in pending])
    except (KafkaError, TimeoutError, OSError) as error:
        if left:
            lots.append(Lot(left, failed(error)))
    return lots + [Lot(fitting, answer_of(future)) for future, fitting in pending]


def _fitting(records: Sequence[PackedRecord], numbers: Sequence[int]) -> Iterator[tuple[Sequence[int], int]]:
    """Neighbours that make a batch of at most `LOT_BYTES`, or one record that is larger; and how large they are."""
    begin, size = 0, BATCH_BYTES
    for at, number in enumerate(numbers):
        more = len(records[number][1]) + RECORD_BYTES
        if at > begin and size + more > LOT_BYTES:
            yield numbers[begin:at], size
            begin, size = at, BATCH_BYTES
        size += more
    yield numbers[begin:], size
