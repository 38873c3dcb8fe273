"""A consumer loop for read models: quick while little happens, thrifty while much does.

Nobody waits for a read model as for a command, and what a batch costs beside its records is the same for ten of them
as for thousands. So the more a batch had, the later the next one begins: several events of one thing meet in it, and
what is kept of the newest alone is written once. After a quiet moment a record is read at once.
"""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer

from jobyard_common.messaging.consumer import ConsumerLoop
from jobyard_common.messaging.fetched import Passed, Wanted, unpack_less
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.placement import Placement
from jobyard_common.telemetry import metrics

EACH_S = 0.001


def pause_after(records: int, *, most: int, least_s: float, longest_s: float) -> float:
    """Seconds between the begins of a batch of `records` and of the next; none after one that was full, because then
    there is a backlog to catch up on."""
    if records >= most:
        return 0.0
    return min(longest_s, least_s + records * EACH_S)


class Follower(ConsumerLoop):
    """`pace_s` is the least pause between batches, `longest_s` the one under load. Data of a busy topic are shown up
    to two pauses late: one in which they are fetched, and one in which they wait.

    `wanted` tells by its value whether `apply` has to see a record; the others are passed over before they cost more
    than a look, unless spans are told of each. It must want what it cannot read, and `apply` must bear what it does
    not want.
    """

    def __init__(
        self, *arguments: Any, longest_s: float, pace_s: float = 0.0, wanted: Wanted | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, pace_s=pace_s, **options)
        self._least_s = pace_s
        self._longest_s = longest_s
        self._wanted = wanted
        self._passed = Passed()

    async def _read(self, consumer: AIOKafkaConsumer, placement: Placement) -> None:
        self._passed = unpack_less(consumer, wanted=None if self._tracer.exporting else self._wanted)
        await super()._read(consumer, placement)

    async def _apply_until_durable(self, batch: list[Inbound], placement: Placement) -> None:
        passed, self._passed.records = self._passed.records, 0
        records = len(batch) + passed
        self._pace_s = pause_after(records, most=self._most, least_s=self._least_s, longest_s=self._longest_s)
        await super()._apply_until_durable(batch, placement)
        metrics.CONSUMED.labels(topic=self._topic.name).inc(passed)
