"""Records that come one by one and leave together.

A request to Kafka costs both sides the same for one record as for a hundred, and each partition in it costs nearly as
much again. So while one request is under way, what comes waits for the next one; and since the ids of new jobs are
ours to choose, they are chosen such that a request has one partition, another one each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jobyard_common.messaging.acknowledged import Lot, PublishFailed, Sent, failed
from jobyard_common.messaging.deadlines import Deadlines
from jobyard_common.messaging.lots import PackedRecord
from jobyard_common.messaging.placed import Place
from jobyard_common.runtime.crash import crash

STALL_S = 0.02
"""After so long the next request does not wait for this one's answer: another broker may be faster."""


class Collector:
    """Of one topic and one patience. `publish` sends what has come, and raises nothing."""

    def __init__(self, publish: Callable[[Sequence[PackedRecord]], Awaitable[list[Lot]]], *, patience_s: float) -> None:
        self.turn = 0
        """How many requests have left; all that come before the next one go with it."""
        self._publish = publish
        self._waits = Deadlines(patience_s)
        self._come: list[tuple[PackedRecord, asyncio.Future[Any]]] = []
        self._running: asyncio.Task[None] | None = None
        self._requests: set[asyncio.Task[None]] = set()

    def add(self, record: PackedRecord) -> asyncio.Future[Any]:
        """What becomes `Sent`, or raises PublishFailed; TimeoutError after the patience."""
        loop = asyncio.get_running_loop()
        waiter = self._waits.waiter(loop)
        self._come.append((record, waiter))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return waiter

    async def _run(self) -> None:
        try:
            while self._come:
                come, self._come = self._come, []
                self.turn += 1
                request = asyncio.create_task(self._send(come))
                self._requests.add(request)
                request.add_done_callback(self._requests.discard)
                await asyncio.wait({request}, timeout=STALL_S)
        finally:
            self._running = None

    async def _send(self, come: Sequence[tuple[PackedRecord, asyncio.Future[Any]]]) -> None:
        # Who does not wait any more has found another way.
        rows = [row for row in come if not row[1].done()]
        lots = await self._publish([record for record, _ in rows]) if rows else []
        for lot in lots:
            answer = lot.answer
            for place, number in enumerate(lot.numbers):
                waiter = rows[number][1]
                if waiter.done():
                    continue
                if isinstance(answer, Sent):
                    waiter.set_result(Sent(answer.partition, answer.offset + place))
                else:
                    waiter.set_exception(PublishFailed(str(answer), permanent=answer.permanent))

    async def stop(self) -> None:
        """Whoever still waits is told that nothing is certain."""
        tasks = [*self._requests, *([self._running] if self._running is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._waits.give_up(PublishFailed("the producer was stopped"))


class Collectors:
    """Of all topics of a publisher. `counts` are the partitions of those that are known."""

    def __init__(self, publish: Callable[..., Awaitable[list[Lot]]], counts: Mapping[str, int]) -> None:
        self._publish = publish
        self._counts = counts
        self._collectors: dict[str, Collector] = {}

    async def send(self, topic: str, record: PackedRecord, *, timeout_s: float) -> Sent:
        """Publish one record, with whatever else is on its way to the topic, and wait for the acknowledgement.

        A topic has one patience, that of its first record.

        Raises:
            PublishFailed: no acknowledgement within `timeout_s`, or a refusal.
        """
        collector = self._collectors.get(topic)
        if collector is None:
            publish = partial(self._publish, topic, timeout_s=timeout_s)
            collector = self._collectors[topic] = Collector(publish, patience_s=timeout_s)
        pending = collector.add(record)
        crash("K2")
        try:
            found: Sent = await pending
        except TimeoutError as error:
            raise failed(error) from None
        return found

    def place(self, topic: str) -> Place | None:
        """Where a record that is sent now costs least; None while nobody knows."""
        count, collector = self._counts.get(topic), self._collectors.get(topic)
        return None if count is None or collector is None else Place(collector.turn % count, count)

    async def stop(self) -> None:
        for collector in self._collectors.values():
            await collector.stop()
