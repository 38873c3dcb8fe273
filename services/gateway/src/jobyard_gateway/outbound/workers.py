"""Which tools live workers offer: asked of the executor every few seconds, remembered while it is away."""

from __future__ import annotations

import asyncio
from collections import Counter

from jobyard_common.http.internal import ServiceAway
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.outbound.executor import Executor

log = get_logger("workers")
ASK_EVERY_S = 3.0


class Workers(Component):
    """Counts of live workers by `name@version`."""

    name = "workers"

    def __init__(self, executor: Executor, registry: Registry) -> None:
        super().__init__()
        self._executor = executor
        self._registry = registry
        self._counts: Counter[str] = Counter()

    async def start(self) -> None:
        self.spawn(self._run(), name="ask")

    def alive(self, key: str) -> int:
        return self._counts[key]

    async def _run(self) -> None:
        while True:
            try:
                self._counts = Counter(await self._executor.offered_tools())
                self._registry.workers_offer(self._counts)
            except (ServiceAway, ValueError) as error:
                log.debug("workers.unknown", error=str(error)[:200])
            await asyncio.sleep(ASK_EVERY_S)
