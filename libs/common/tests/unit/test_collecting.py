"""Records that come one by one: each has its own answer in time, and few requests carry them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from jobyard_common.contracts.ids import is_id, is_keyed
from jobyard_common.messaging import collecting
from jobyard_common.messaging.acknowledged import Lot, PublishFailed, Sent
from jobyard_common.messaging.collecting import Collectors
from jobyard_common.messaging.kafka import partition_of
from jobyard_common.messaging.lots import PackedRecord
from jobyard_common.messaging.placed import Place, placed_id

Answer = Callable[[Sequence[PackedRecord]], Awaitable[list[Lot]]]


class Broker:
    """Acknowledges after `delay_s`, each record at the next offset of partition 3."""

    def __init__(self, *, delay_s: float = 0.001) -> None:
        self.requests: list[list[bytes]] = []
        self.asked = asyncio.Event()
        self.delay_s = delay_s
        self.answer: Answer = self._sent
        self._offset = 0

    async def publish(self, topic: str, records: Sequence[PackedRecord], *, timeout_s: float) -> list[Lot]:
        self.requests.append([key for key, _ in records])
        self.asked.set()
        return await self.answer(records)

    async def _sent(self, records: Sequence[PackedRecord]) -> list[Lot]:
        offset = self._offset
        self._offset += len(records)
        await asyncio.sleep(self.delay_s)
        return [Lot(range(len(records)), Sent(3, offset))]


def told(broker: Broker, story: Callable[[Collectors], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        collectors = Collectors(broker.publish, {"t": 12})
        try:
            await story(collectors)
        finally:
            await collectors.stop()

    asyncio.run(asyncio.wait_for(all_of_it(), 20))


def key(number: int) -> PackedRecord:
    return b"%d" % number, b"record"


def test_each_gets_its_own_place_and_few_requests_carry_them() -> None:
    broker = Broker(delay_s=0.005)

    async def story(collectors: Collectors) -> None:
        assert collectors.place("t") is None
        found = await asyncio.gather(*(collectors.send("t", key(n), timeout_s=5) for n in range(100)))
        assert found == [Sent(3, n) for n in range(100)]
        assert broker.requests == [[b"%d" % n for n in range(100)]]
        first = collectors.place("t")
        assert await collectors.send("t", key(100), timeout_s=5) == Sent(3, 100)
        assert (first, collectors.place("t")) == (Place(1, 12), Place(2, 12))
        assert collectors.place("other") is None

    told(broker, story)


def test_what_comes_meanwhile_goes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "STALL_S", 5.0)
    broker = Broker(delay_s=0.02)

    async def story(collectors: Collectors) -> None:
        first = asyncio.ensure_future(collectors.send("t", key(0), timeout_s=5))
        await broker.asked.wait()
        more = [asyncio.ensure_future(collectors.send("t", key(n), timeout_s=5)) for n in range(1, 20)]
        await asyncio.gather(first, *more)
        assert [len(request) for request in broker.requests] == [1, 19]

    told(broker, story)


def test_a_request_that_stalls_does_not_hold_the_next() -> None:
    broker = Broker()

    async def story(collectors: Collectors) -> None:
        never = asyncio.Event()

        async def stuck(records: Sequence[PackedRecord]) -> list[Lot]:
            await never.wait()
            return [Lot(range(len(records)), Sent(0, 0))]

        sent, broker.answer = broker.answer, stuck
        late = asyncio.ensure_future(collectors.send("t", key(0), timeout_s=5))
        await broker.asked.wait()
        broker.answer = sent
        assert await collectors.send("t", key(1), timeout_s=5) == Sent(3, 0)
        assert not late.done()
        never.set()
        assert await late == Sent(0, 0)

    told(broker, story)


def test_a_failure_is_everybodys_own() -> None:
    broker = Broker()

    async def refuse(records: Sequence[PackedRecord]) -> list[Lot]:
        return [
            Lot([0], PublishFailed("large", permanent=True)),
            Lot([1, 2], PublishFailed("gone")),
            Lot([3], Sent(1, 9)),
        ]

    broker.answer = refuse

    async def story(collectors: Collectors) -> None:
        sends = (collectors.send("t", key(n), timeout_s=5) for n in range(4))
        large, gone, too, sent = await asyncio.gather(*sends, return_exceptions=True)
        assert isinstance(large, PublishFailed) and large.permanent
        assert isinstance(gone, PublishFailed) and isinstance(too, PublishFailed) and gone is not too
        assert not gone.permanent and sent == Sent(1, 9)

    told(broker, story)


def test_nobody_waits_longer_than_the_patience_and_who_left_is_not_sent() -> None:
    broker = Broker(delay_s=30)

    async def story(collectors: Collectors) -> None:
        with pytest.raises(PublishFailed, match="no acknowledgement in time") as caught:
            await collectors.send("t", key(0), timeout_s=0.05)
        assert not caught.value.permanent
        gone = asyncio.ensure_future(collectors.send("t", key(1), timeout_s=0.05))
        await asyncio.sleep(0)
        gone.cancel()
        kept = asyncio.ensure_future(collectors.send("t", key(2), timeout_s=0.05))
        with pytest.raises(PublishFailed):
            await kept
        assert [b"1"] not in broker.requests and all(b"1" not in request for request in broker.requests)

    told(broker, story)


def test_at_the_end_whoever_waits_is_told() -> None:
    broker = Broker(delay_s=30)

    async def story(collectors: Collectors) -> None:
        waiting = asyncio.ensure_future(collectors.send("t", key(0), timeout_s=20))
        await broker.asked.wait()
        await collectors.stop()
        with pytest.raises(PublishFailed, match="stopped"):
            await waiting

    told(broker, story)


@pytest.mark.parametrize("partitions", [1, 6, 12, 50])
def test_placed_ids_go_where_they_shall_and_are_like_any_others(partitions: int) -> None:
    made = [placed_id("job", Place(n % partitions, partitions), cell="0A") for n in range(2_000)]
    assert len(set(made)) == 2_000
    assert all(is_id("job", one) and not is_keyed(one) and one.startswith("job_0A") for one in made)
    assert [partition_of(one.encode(), partitions) for one in made] == [n % partitions for n in range(2_000)]


def test_more_partitions_than_can_be_tried_are_left_to_chance() -> None:
    assert is_id("job", placed_id("job", Place(0, 10**9)))
