"""Records of a fetch, unpacked into no more than a consumer of ours looks at.

aiokafka makes an object of twelve members and a copy of the headers for each record: most of what it costs a read
model to read one. Where no transactions are read and nothing is deserialised, what it does beyond that is little: check
sums, control batches, and where the next fetch begins.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException


class Passed(msgspec.Struct):
    """How many records were passed over because nobody wanted them."""

    records: int = 0


class Row(msgspec.Struct, gc=False):
    """A record as it was fetched, with aiokafka's names."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


Wanted = Callable[[bytes | None], bool]


def unpack_less(consumer: AIOKafkaConsumer, *, wanted: Wanted | None = None) -> Passed:
    """From now on `getmany` of this started consumer gives `Row`s; with `wanted`, only those whose value it wants.

    The first and the last record of a fetch always come: they say where in the log we are. Returns the count of the
    others that were passed over.
    """
    fetcher = consumer._fetcher
    passed = Passed()
    fetcher._records = _Buffer(fetcher._records, wanted=wanted, passed=passed)
    return passed


def rows(found: PartitionRecords, *, wanted: Wanted | None, passed: Passed) -> Iterator[Row]:
    """What `found` would unpack; moves its `next_fetch_offset` in the same way.

    Raises:
        CorruptRecordException: a batch is not what its check sum says.
    """
    partition, fetched = found._tp.partition, found._records
    always, last = True, None
    while fetched.has_next():
        batch = fetched.next_batch()
        if found._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {found._tp}")
        if not batch.is_control_batch:
            begins = found.next_fetch_offset
            for record in batch:
                offset = record.offset
                # A compressed batch comes whole, whatever offset was asked for.
                if offset < begins:
                    continue
                found.next_fetch_offset = offset + 1
                value = record.value
                if always or wanted is None or wanted(value):
                    always, last = False, None
                    yield Row(partition, offset, record.timestamp, record.key, value, record.headers)
                else:
                    passed.records += 1
                    last = record
        found.next_fetch_offset = batch.next_offset
    if last is not None:
        passed.records -= 1
        yield Row(partition, last.offset, last.timestamp, last.key, last.value, last.headers)


class _Buffer(OrderedDict[Any, Any]):
    """What aiokafka has fetched and nobody has read yet."""

    def __init__(self, fetched: OrderedDict[Any, Any], *, wanted: Wanted | None, passed: Passed) -> None:
        super().__init__()
        self._wanted, self._passed = wanted, passed
        for partition, result in fetched.items():
            self[partition] = result

    def __setitem__(self, partition: Any, result: Any) -> None:
        found = getattr(result, "_partition_records", None)
        if isinstance(found, PartitionRecords) and _is_plain(found):
            found._records_iterator = rows(found, wanted=self._wanted, passed=self._passed)
        super().__setitem__(partition, result)


def _is_plain(found: PartitionRecords) -> bool:
    """Whether nothing is asked for that `rows` leaves out, and nothing has been unpacked yet."""
    untouched = inspect.isgenerator(found._records_iterator) and (
        inspect.getgeneratorstate(found._records_iterator) == inspect.GEN_CREATED
    )
    deserialised = found._key_deserializer is not None or found._value_deserializer is not None
    return untouched and not deserialised and found._isolation_level == READ_UNCOMMITTED
