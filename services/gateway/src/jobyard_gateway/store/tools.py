"""The registry's copy, so that a gateway validates after a restart while Kafka is away."""

from __future__ import annotations

from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.contracts.wire import decode, encode
from jobyard_common.db.connection import Pool

LOAD = "SELECT definition FROM tool"
KEEP = "INSERT INTO tool (name, version, definition) VALUES ($1, $2, $3) ON CONFLICT (name, version) DO NOTHING"
FORGET = "DELETE FROM tool WHERE name = $1 AND version = $2"


async def load(pool: Pool) -> list[ToolDefinition]:
    return [decode(ToolDefinition, bytes(row["definition"])) for row in await pool.fetch(LOAD, timeout=5)]


async def keep(pool: Pool, definition: ToolDefinition) -> None:
    await pool.execute(KEEP, definition.name, definition.version, encode(definition), timeout=5)


async def forget(pool: Pool, *, name: str, version: str) -> None:
    await pool.execute(FORGET, name, version, timeout=5)
