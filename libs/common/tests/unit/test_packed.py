"""Records packed by hand are, byte for byte, what the client's own builder makes of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts.envelope import Envelope, encode
from jobyard_common.contracts.wire import rfc3339
from jobyard_common.messaging.acknowledged import Lot, PublishFailed, Sent
from jobyard_common.messaging.kafka import MAX_REQUEST_BYTES, partition_of
from jobyard_common.messaging.lots import LOT_BYTES, send_lots
from jobyard_common.messaging.packed import PackedBatch, PackedEnvelopes, packed_headers, packed_record, varint

Header = st.tuples(st.text(max_size=20), st.binary(max_size=200))
Record = st.tuples(st.binary(max_size=40), st.binary(max_size=9000), st.lists(Header, max_size=10))
Rows = list[tuple[bytes, bytes, list[tuple[str, bytes]]]]


def packed(rows: Rows) -> PackedBatch:
    return PackedBatch([packed_record(key, value, packed_headers(headers)) for key, value, headers in rows])


@given(
    st.lists(Record, min_size=1, max_size=100), st.tuples(st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 9))
)
def test_a_packed_batch_is_the_clients_own(rows: Rows, state: tuple[int, int, int]) -> None:
    batch = packed(rows)
    batch._set_producer_state(*state)
    own = DefaultRecordBatchBuilder(
        2,
        0,
        is_transactional=0,
        producer_id=state[0],
        producer_epoch=state[1],
        base_sequence=state[2],
        batch_size=2**30,
    )
    for number, (key, value, headers) in enumerate(rows):
        assert own.append(number, batch._at_ms, key=key, value=value, headers=headers) is not None
    assert batch.record_count() == len(rows)
    assert bytes(batch._build()) == bytes(own.build())
    assert batch.size() == len(batch._build())


def test_many_records_keep_their_offsets() -> None:
    rows: Rows = [(b"%d" % number, b"v" * (number % 300), []) for number in range(20_000)]
    read = MemoryRecords(packed(rows)._build()).next_batch()
    assert read is not None and read.validate_crc()
    assert [(record.offset, record.key) for record in read] == [(number, row[0]) for number, row in enumerate(rows)]


@pytest.mark.parametrize(("number", "text"), [(0, "00"), (63, "7e"), (64, "8001"), (4095, "fe3f"), (4096, "8040")])
def test_lengths_are_zigzag_varints(number: int, text: str) -> None:
    assert varint(number).hex() == text


def test_it_is_a_closed_builder_with_all_that_one_has() -> None:
    batch = packed([(b"k", b"v", [])])
    assert all(
        hasattr(batch, name) for name in vars(BatchBuilder) if not name.startswith("__") and name != "_serialize"
    )
    assert batch.closed() and batch.append(timestamp=None, key=b"k", value=b"v") is None


class Producer:
    """Acknowledges every batch at the end of its partition, unless `answer` says otherwise."""

    def __init__(self, answer: dict[int, BaseException | None] | None = None) -> None:
        self.logs: dict[int, list[bytes]] = {}
        self.largest = 0
        self._answer = answer or {}

    async def send_batch(self, batch: PackedBatch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.largest = max(self.largest, batch.size())
        if partition not in self._answer:
            log = self.logs.setdefault(partition, [])
            future.set_result(SimpleNamespace(partition=partition, offset=len(log)))
            read = MemoryRecords(batch._build()).next_batch()
            assert read is not None
            log += [record.value or b"" for record in read]
        elif (error := self._answer[partition]) is not None:
            future.set_exception(error)
        return future


def records(count: int, *, size: int = 10) -> list[tuple[bytes, bytes]]:
    return [(b"%d" % n, packed_record(b"%d" % n, b"%d:" % n + b"x" * size, b"\0")) for n in range(count)]


def sent(producer: Producer, rows: list[tuple[bytes, bytes]], *, patience_s: float = 5.0) -> dict[int, Any]:
    async def story() -> list[Lot]:
        deadline = asyncio.get_running_loop().time() + patience_s
        return await send_lots(producer, "t", rows, partitions=3, deadline=deadline)

    lots = asyncio.run(story())
    found: dict[int, Any] = {}
    for lot in lots:
        for place, number in enumerate(lot.numbers):
            assert number not in found
            answer = lot.answer
            found[number] = Sent(answer.partition, answer.offset + place) if isinstance(answer, Sent) else answer
        last = lot.last()
        assert last is None or last == found[lot.numbers[-1]]
    assert sorted(found) == list(range(len(rows)))
    return found


def test_every_record_is_where_its_lot_says() -> None:
    producer = Producer()
    rows = records(3_000, size=1_000)
    for number, answer in sent(producer, rows).items():
        assert answer.partition == partition_of(rows[number][0], 3)
        assert producer.logs[answer.partition][answer.offset].startswith(b"%d:" % number)
    assert producer.largest <= LOT_BYTES


def test_one_that_is_too_large_is_refused_for_good_and_alone() -> None:
    rows = records(30)
    rows[7] = (rows[7][0], packed_record(rows[7][0], b"x" * MAX_REQUEST_BYTES, b"\0"))
    rows[9] = (rows[9][0], packed_record(rows[9][0], b"x" * (MAX_REQUEST_BYTES - 200), b"\0"))
    found = sent(Producer(), rows)
    assert [number for number, answer in found.items() if isinstance(answer, PublishFailed)] == [7]
    assert found[7].permanent


def test_a_partition_that_fails_or_is_silent_is_told_apart() -> None:
    found = sent(Producer({1: KafkaConnectionError("gone"), 2: None}), records(60), patience_s=0.05)
    kinds: dict[int, set[type]] = {}
    for number, answer in found.items():
        kinds.setdefault(partition_of(b"%d" % number, 3), set()).add(type(answer))
        assert isinstance(answer, Sent) or not answer.permanent
    assert kinds == {0: {Sent}, 1: {PublishFailed}, 2: {PublishFailed}}


Texts = st.text(max_size=64)


@given(Texts, Texts, Texts, Texts, st.datetimes(timezones=st.just(UTC)))
def test_packed_envelopes_are_those_of_the_codec(
    id: str, subject: str, correlation: str, trace: str, at: datetime
) -> None:
    envelope = Envelope("jobyard.job.submit.v1", "/jobyard/gateway", subject, correlation, trace, id, at)
    found = PackedEnvelopes(envelope.type, envelope.source).pack(
        id=id, subject=subject, time=rfc3339(at), correlation_id=correlation, traceparent=trace
    )
    assert found == packed_headers(encode(envelope))
