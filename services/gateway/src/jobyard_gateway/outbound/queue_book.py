"""Where jobs of a tool go, and which queues take none: asked of the executor every second, remembered while it is
away. A change is therefore followed within about a second."""

from __future__ import annotations

import asyncio

from jobyard_common.http.internal import ServiceAway
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_gateway.outbound.executor import Executor, QueueRules

log = get_logger("queues")
ASK_EVERY_S = 1.0


class QueueBook(Component):
    """Without an answer yet every queue takes jobs and a tool's own queue counts."""

    name = "queue-book"

    def __init__(self, executor: Executor) -> None:
        super().__init__()
        self._executor = executor
        self._rules = QueueRules()

    async def start(self) -> None:
        self.spawn(self._run(), name="ask")

    def learn(self, rules: QueueRules) -> None:
        self._rules = rules

    def queue_of(self, tool: str, *, default: str) -> str:
        """The queue of a job of this tool that names none."""
        return self._rules.routes.get(tool, default)

    def knows(self, queue: str) -> bool:
        return queue in self._rules.queues

    def is_draining(self, queue: str) -> bool:
        found = self._rules.queues.get(queue)
        return found is not None and found.draining

    async def _run(self) -> None:
        while True:
            try:
                self.learn(await self._executor.queue_rules())
            except (ServiceAway, ValueError) as error:
                log.debug("queues.unknown", error=str(error)[:200])
            await asyncio.sleep(ASK_EVERY_S)
