"""A consumer that reads nothing while records wait does not stay so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from jobyard_common.messaging import watchdog
from jobyard_common.messaging.watchdog import Stalled, Watchdog

HERE = TopicPartition("t", 0)


class Enough(Exception):
    """The test has seen what it wanted."""


class Consumer:
    """Tells where the partitions end, a hundred times."""

    def __init__(self, ends: dict[TopicPartition, int], *, act: Callable[[], object] = lambda: None) -> None:
        self.ends = ends
        self.looks = 0
        self._act = act

    async def end_offsets(self, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.looks += 1
        if self.looks > 100:
            raise Enough
        self._act()
        return {row: self.ends[row] for row in asked}


def placed(
    *, at: int, stopped: tuple[int, ...] = (), held: tuple[int, ...] = (), partitions: tuple[int, ...] = (0,)
) -> Any:
    return SimpleNamespace(
        assigned={TopicPartition("t", number) for number in partitions},
        positions=dict.fromkeys(partitions, at),
        stopped=dict.fromkeys(stopped, "lost records"),
        waiting=lambda: dict.fromkeys(held, "its queue is full"),
    )


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(watchdog, "STALLED_S", 0.02)
    yield


async def watched(consumer: Any, placement: Any, *, idle: Callable[[], bool] | None = None) -> None:
    """Run the watchdog until it bites, or has looked far more often than a stall takes."""
    with contextlib.suppress(Enough):
        await Watchdog(consumer, placement, topic="t", idle=idle).run()


def test_records_that_wait_and_are_not_applied_bite() -> None:
    with pytest.raises(Stalled, match="3 records wait, none applied"):
        asyncio.run(watched(Consumer({HERE: 10}), placed(at=7)))


def test_a_consumer_that_is_through_is_left_alone() -> None:
    asyncio.run(watched(Consumer({HERE: 7}), placed(at=7)))


def test_a_partition_that_has_to_wait_is_left_alone_and_hides_no_other() -> None:
    there = TopicPartition("t", 1)
    asyncio.run(watched(Consumer({HERE: 10, there: 7}), placed(at=7, held=(0,), partitions=(0, 1))))
    with pytest.raises(Stalled, match="2 records wait"):
        asyncio.run(watched(Consumer({HERE: 10, there: 9}), placed(at=7, held=(0,), partitions=(0, 1))))


def test_one_that_rests_on_purpose_is_left_alone() -> None:
    asyncio.run(watched(Consumer({HERE: 10}), placed(at=7), idle=lambda: True))


def test_one_that_waits_for_postgresql_gets_more_time_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer({HERE: 10})

    async def story() -> None:
        with contextlib.suppress(Enough):
            await Watchdog(consumer, placed(at=7), topic="t", idle=None, busy=lambda: True).run()  # type: ignore[arg-type]

    asyncio.run(story())
    assert consumer.looks > 100
    consumer.looks = 0
    monkeypatch.setattr(watchdog, "BUSY_S", 0.03)
    with pytest.raises(Stalled):
        asyncio.run(story())


def test_slow_progress_is_progress() -> None:
    placement = placed(at=0)

    def apply() -> None:
        placement.positions[0] += 1

    asyncio.run(watched(Consumer({HERE: 10_000}, act=apply), placement))


def test_a_stopped_partition_does_not_count_but_its_neighbour_does() -> None:
    ends = {HERE: 10, TopicPartition("t", 1): 10}
    two = placed(at=10, stopped=(0,), partitions=(0, 1))
    two.positions[0] = 3
    asyncio.run(watched(Consumer(ends), two))
    two.positions[1] = 9
    with pytest.raises(Stalled, match="1 records wait"):
        asyncio.run(watched(Consumer(ends), two))


@pytest.mark.parametrize("error", [KafkaConnectionError("away"), OSError("away"), TimeoutError()])
def test_a_broker_that_does_not_answer_is_no_stall(error: BaseException) -> None:
    def fail() -> None:
        raise error

    asyncio.run(watched(Consumer({HERE: 10}, act=fail), placed(at=7)))


def test_nothing_is_asked_for_no_partitions() -> None:
    async def story() -> int:
        consumer = Consumer({})
        with pytest.raises(TimeoutError):
            running = Watchdog(consumer, placed(at=0, partitions=()), topic="t", idle=None)  # type: ignore[arg-type]
            await asyncio.wait_for(running.run(), 0.05)
        return consumer.looks

    assert asyncio.run(story()) == 0
