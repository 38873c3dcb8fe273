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
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.context import new_trace
from jobyard_common.telemetry.logging import get_logger

log = get_logger("registry")
REGISTER = """
INSERT INTO tool_version AS t (name, version, hash, definition, seen_at)
VALUES ($1, $2, $3, $4, now())
ON CONFLICT (name, version) DO UPDATE SET seen_at = now(), retired = false RETURNING hash
"""
TOOL_LIMIT = """
INSERT INTO "limit" (key, n, declared) VALUES ($1, $2, true)
ON CONFLICT (key) DO UPDATE SET n = excluded.n WHERE "limit".declared
"""


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
        accepted = []
        async with self._pool.acquire() as connection, connection.transaction():
            for tool, text in sorted(tools, key=lambda row: row[0].key):
                known = await connection.fetchval(REGISTER, tool.name, tool.version, tool.hash, text.decode())
                if known != tool.hash:
                    log.error("registry.version_changed", tool=tool.key, message="raise the version of this tool")
                    continue
                accepted.append((tool, text))
                limit = tool.limits.get("concurrency")
                if isinstance(limit, int):
                    await connection.execute(TOOL_LIMIT, f"tool:{tool.name}", limit)
        return accepted

    def _record(self, tool: ToolDefinition, text: bytes) -> OutRecord:
        envelope = new_envelope(
            TOOL_DEFINED,
            source=self._source,
            subject=tool.key,
            correlation_id=tool.key,
            traceparent=new_trace(sampled=False).format(),
        )
        return OutRecord(TOOLS.name, tool.key, text, headers_of(envelope))
