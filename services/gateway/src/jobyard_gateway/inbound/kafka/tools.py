"""The compacted topic `tools`: every definition goes into memory at once and into our table soon after."""

from __future__ import annotations

import asyncio
from collections import deque

from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.db.connection import Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_gateway.domain.tools import Registry, SchemaInvalid
from jobyard_gateway.store import tools

log = get_logger("tools")


class ToolTopic(Component):
    """Loads our copy at start, so that we validate while Kafka is away, then follows the topic."""

    name = "tools"

    def __init__(self, registry: Registry, pool: Pool) -> None:
        super().__init__()
        self._registry = registry
        self._pool = pool
        self._unsaved: deque[ToolDefinition | str] = deque()
        self._news = asyncio.Event()

    async def start(self) -> None:
        try:
            for definition in await tools.load(self._pool):
                self._define(definition)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("tools.copy_unreadable", error=str(error)[:200])
        self.spawn(self._save(), name="save")

    def on_records(self, records: list[Inbound]) -> None:
        for record in records:
            key = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self._registry.retire(key)
                self._unsaved.append(key)
                continue
            try:
                definition = decode(ToolDefinition, record.value)
            except WireError as error:
                log.error("tools.definition_refused", key=key[:128], error=str(error))
                continue
            if self._define(definition):
                self._unsaved.append(definition)
        self._news.set()

    def _define(self, definition: ToolDefinition) -> bool:
        try:
            return self._registry.define(definition)
        except SchemaInvalid as error:
            log.error("tools.schema_refused", tool=definition.key, error=str(error))
            return False

    async def _save(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unsaved:
                row = self._unsaved[0]
                try:
                    await self._save_one(row)
                except Exception as error:
                    if not is_retryable(error):
                        raise
                    await asyncio.sleep(1.0)
                    continue
                self._unsaved.popleft()

    async def _save_one(self, row: ToolDefinition | str) -> None:
        if isinstance(row, str):
            name, _, version = row.partition("@")
            await tools.forget(self._pool, name=name, version=version)
        else:
            await tools.keep(self._pool, row)
