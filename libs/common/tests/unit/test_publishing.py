"""`Publisher.send_many`: packed by partition, answered one by one in the order given."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from jobyard_common.messaging.kafka import MAX_REQUEST_BYTES, KafkaSettings, partition_of
from jobyard_common.messaging.publisher import OutRecord, Publisher, PublishFailed, Sent

PARTITIONS = 3


class Batch:
    """Takes `room` records."""

    def __init__(self, room: int) -> None:
        self.values: list[bytes | None] = []
        self._room = room

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Any) -> object | None:
        if len(self.values) == self._room:
            return None
        self.values.append(value)
        return self

    def close(self) -> None: ...


class Producer:
    """Acknowledges every batch at the end of its partition, unless `answer` says otherwise."""

    def __init__(self, *, room: int = 100, answer: dict[int, BaseException | None] | None = None) -> None:
        self.logs: dict[tuple[str, int], list[bytes | None]] = {}
        self.batches = 0
        self._room = room
        self._answer = answer or {}

    async def partitions_for(self, topic: str) -> set[int]:
        if topic.endswith("unknown"):
            raise KafkaConnectionError("no such topic")
        return set(range(PARTITIONS))

    def create_batch(self) -> Batch:
        return Batch(self._room)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        self.batches += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if partition not in self._answer:
            log = self.logs.setdefault((topic, partition), [])
            future.set_result(SimpleNamespace(partition=partition, offset=len(log)))
            log += batch.values
        elif (error := self._answer[partition]) is not None:
            future.set_exception(error)
        return future


def record(number: int, *, key: str = "k", topic: str = "t", size: int = 0) -> OutRecord:
    return OutRecord(topic, key, b"x" * size or str(number).encode(), [])


def keys() -> list[str]:
    """One key for every partition."""
    found = {partition_of(f"k{number}".encode(), PARTITIONS): f"k{number}" for number in range(100)}
    return [found[partition] for partition in range(PARTITIONS)]


def send(records: list[OutRecord], producer: Producer | None, *, timeout_s: float = 10.0) -> list[Sent | PublishFailed]:
    async def story() -> list[Sent | PublishFailed]:
        publisher = Publisher(KafkaSettings("nowhere:1", "test", "p-"))
        publisher._producer = producer  # type: ignore[assignment]
        return await publisher.send_many(records, timeout_s=timeout_s)

    return asyncio.run(story())


def test_each_answer_names_the_place_of_its_own_record() -> None:
    producer, names = Producer(room=4), keys()
    records = [record(number, key=names[number % PARTITIONS]) for number in range(25)]
    answers = send(records, producer)
    for given, answer in zip(records, answers, strict=True):
        assert isinstance(answer, Sent)
        assert producer.logs["p-t", answer.partition][answer.offset] == given.value
        assert answer.partition == partition_of(str(given.key).encode(), PARTITIONS)


def test_order_within_a_partition_is_the_order_given_over_all_its_batches() -> None:
    producer = Producer(room=3)
    send([record(number) for number in range(10)], producer)
    (log,) = producer.logs.values()
    assert log == [str(number).encode() for number in range(10)]
    assert producer.batches == 4


def test_one_partition_that_fails_delays_and_spoils_no_other() -> None:
    names = keys()
    producer = Producer(answer={1: KafkaConnectionError("its leader is away")})
    answers = send([record(number, key=names[number % PARTITIONS]) for number in range(9)], producer)
    assert [isinstance(answer, Sent) for answer in answers] == [True, False, True] * 3
    assert not any(answer.permanent for answer in answers if isinstance(answer, PublishFailed))


def test_an_acknowledgement_that_does_not_come_fails_at_the_deadline_and_may_still_arrive() -> None:
    names = keys()
    answers = send([record(0, key=names[0]), record(1, key=names[1])], Producer(answer={1: None}), timeout_s=0.05)
    assert isinstance(answers[0], Sent)
    assert isinstance(answers[1], PublishFailed)
    assert "in time" in str(answers[1])
    assert not answers[1].permanent


def test_what_is_too_large_is_refused_for_good_and_its_neighbours_go() -> None:
    answers = send([record(0), record(1, size=MAX_REQUEST_BYTES + 1), record(2)], Producer())
    assert [isinstance(answer, Sent) for answer in answers] == [True, False, True]
    assert isinstance(answers[1], PublishFailed)
    assert answers[1].permanent


def test_a_broker_that_calls_a_record_too_large_is_believed() -> None:
    partition = partition_of(b"k", PARTITIONS)
    (answer,) = send([record(0)], Producer(answer={partition: MessageSizeTooLargeError("too large")}))
    assert isinstance(answer, PublishFailed)
    assert answer.permanent


def test_a_topic_that_cannot_be_looked_up_fails_alone() -> None:
    answers = send([record(0, topic="unknown"), record(1)], Producer())
    assert isinstance(answers[0], PublishFailed)
    assert not answers[0].permanent
    assert isinstance(answers[1], Sent)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_a_connection_nothing_is_sent_and_everything_answered(count: int) -> None:
    answers = send([record(number) for number in range(count)], None)
    assert len(answers) == count
    assert all(isinstance(answer, PublishFailed) and not answer.permanent for answer in answers)
