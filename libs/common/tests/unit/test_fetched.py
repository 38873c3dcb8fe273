"""What is unpacked of a fetch is what aiokafka would unpack, and where it goes on is the same place."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from jobyard_common.messaging.fetched import Passed, Row, rows, unpack_less

HEADERS = [("ce_type", b"a"), ("ce_id", b"1"), ("ce_type", b"again"), ("empty", None)]


def batch(*values: bytes | None, first: int, compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**20,
    )
    for number, value in enumerate(values):
        builder.append(number, 1_000 + number, b"key", value, HEADERS)
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")
    return bytes(raw)


def fetch(raw: bytes, *, offset: int = 0, isolation: int = READ_UNCOMMITTED) -> PartitionRecords:
    return PartitionRecords(TopicPartition("t", 3), MemoryRecords(raw), None, offset, None, None, True, isolation)


def told(found: PartitionRecords, given: Any) -> list[tuple[Any, ...]]:
    return [
        (row.partition, row.offset, row.timestamp, row.key, row.value, list(row.headers), found.next_fetch_offset)
        for row in given
    ]


FETCHES = [
    pytest.param(batch(b"a", b"b", b"c", first=0), 0, id="whole"),
    pytest.param(batch(b"a", b"b", first=10) + batch(b"c", None, first=12), 11, id="from the middle"),
    pytest.param(batch(*[b"x" * 50] * 30, first=5, compression=1), 20, id="compressed"),
    pytest.param(batch(b"a", first=7) + batch(b"b", first=40), 0, id="with a gap"),
]


@pytest.mark.parametrize(("raw", "offset"), FETCHES)
def test_rows_are_those_of_aiokafka(raw: bytes, offset: int) -> None:
    theirs, ours = fetch(raw, offset=offset), fetch(raw, offset=offset)
    assert told(ours, rows(ours, wanted=None, passed=Passed())) == told(theirs, theirs)
    assert ours.next_fetch_offset == theirs.next_fetch_offset


def test_a_broken_batch_is_told() -> None:
    raw = bytearray(batch(b"abc", first=0))
    raw[-6] ^= 1
    found = fetch(bytes(raw))
    with pytest.raises(CorruptRecordException):
        list(rows(found, wanted=None, passed=Passed()))


@pytest.mark.parametrize(
    ("values", "come"),
    [
        (b"-----", [0, 4]),
        (b"--+--", [0, 2, 4]),
        (b"+---+", [0, 4]),
        (b"---++", [0, 3, 4]),
        (b"-", [0]),
        (b"--", [0, 1]),
    ],
)
def test_what_nobody_wants_is_passed_over_but_the_first_and_the_last(values: bytes, come: list[int]) -> None:
    parts = [bytes([value]) for value in values]
    passed = Passed()
    found = fetch(batch(*parts[:2], first=0) + (batch(*parts[2:], first=2) if parts[2:] else b""))
    given = list(rows(found, wanted=lambda value: value == b"+", passed=passed))
    assert [row.offset for row in given] == come
    assert passed.records == len(values) - len(come)
    assert found.next_fetch_offset == len(values)
    assert [list(row.headers) for row in given] == [HEADERS] * len(come)


class Consumer:
    """The one member that is looked at."""

    def __init__(self) -> None:
        self._fetcher = self
        self._records: OrderedDict[Any, Any] = OrderedDict()


def unpacked(found: PartitionRecords) -> list[Any]:
    consumer = Consumer()
    unpack_less(consumer)
    consumer._records["p"] = FetchResult("p", assignment=None, partition_records=found, backoff=0)
    return list(found)


def test_a_consumers_fetches_are_unpacked_so() -> None:
    assert [type(row) for row in unpacked(fetch(batch(b"a", b"b", first=0)))] == [Row, Row]


def test_transactions_deserialisers_and_begun_fetches_are_left_to_aiokafka() -> None:
    committed = fetch(batch(b"a", first=0), isolation=READ_COMMITTED)
    texts = fetch(batch(b"a", first=0))
    texts._value_deserializer = bytes.decode
    begun = fetch(batch(b"a", b"b", first=0))
    assert next(begun).value == b"a"
    assert [row.value for row in unpacked(begun)] == [b"b"]
    assert not any(isinstance(row, Row) for found in (committed, texts) for row in unpacked(found))
