"""The tools of this executor, registered in the database and told to everybody by the topic `tools`.

A version of a tool never changes: a definition that comes again with another hash is refused, its jobs stay with the
executors that run the old one, and the log says which version number to raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import msgspec
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.tools import TOOL_DEFINED, ToolDefinition
from jobyard_common.contracts.topics import TOOLS
from jobyard_common.db.deadline import within
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.context import new_trace
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.store import tool_versions

log = get_logger("registry")
STORE_S = 15.0


class Registry(Component):
    """Registers what `offer` was given, as soon as database and broker answer."""

    name = "registry"

    def __init__(
        self,
        pool: asyncpg.Pool,
        publisher: Publisher,
        *,
        source: str,
        on_registered: Callable[[frozenset[tuple[str, str]]], None],
    ) -> None:
        super().__init__()
        self._pool = pool
        self._publisher = publisher
        self._source = source
        self._on_registered = on_registered

    def offer(self, definitions: Sequence[bytes]) -> None:
        """Register and publish these definitions in the background."""
        tools = [(msgspec.json.decode(text, type=ToolDefinition), text) for text in definitions]
        self.spawn(self._register(tools), name="register")

    async def _register(self, tools: Sequence[tuple[ToolDefinition, bytes]]) -> None:
        for pause in delays(first_s=0.2, cap_s=5.0):
            try:
                accepted = await self._store(tools)
                break
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("registry.database_away", error=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(pause)
        self._on_registered(frozenset((tool.name, tool.version) for tool, _ in accepted))
        records = [self._record(tool, text) for tool, text in accepted]
        for pause in delays(first_s=0.2, cap_s=5.0):
            answers = await self._publisher.send_many(records)
            records = [record for record, answer in zip(records, answers, strict=True) if not isinstance(answer, Sent)]
            if not records:
                break
            await asyncio.sleep(pause)
        log.info("registry.published", tools=len(accepted))

    async def _store(self, tools: Sequence[tuple[ToolDefinition, bytes]]) -> list[tuple[ToolDefinition, bytes]]:
        texts = [(tool, text.decode()) for tool, text in tools]
        known = await within(self._pool, lambda held: tool_versions.register(held, texts), timeout_s=STORE_S)
        for tool, _ in tools:
            if (tool.name, tool.version) not in known:
                log.error("registry.version_changed", tool=tool.key, message="raise the version of this tool")
        return [(tool, text) for tool, text in tools if (tool.name, tool.version) in known]

    def _record(self, tool: ToolDefinition, text: bytes) -> OutRecord:
        envelope = new_envelope(
            TOOL_DEFINED,
            source=self._source,
            subject=tool.key,
            correlation_id=tool.key,
            traceparent=new_trace(sampled=False).format(),
        )
        return OutRecord(TOOLS.name, tool.key, text, headers_of(envelope))
