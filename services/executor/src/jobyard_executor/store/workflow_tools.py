"""The registry as steps are pinned to it: every tool that is not retired, and what live workers run."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.db.connection import Connection

DEFINITIONS = "SELECT definition FROM tool_version WHERE NOT retired"
ROUTES = "SELECT tool, queue FROM route"
ALIVE = "SELECT DISTINCT unnest(tools) FROM worker WHERE NOT reaped AND expires_at > clock_timestamp()"


async def definitions(connection: Connection) -> tuple[ToolDefinition, ...]:
    """Definitions that can be read; another version of this software may have written one that cannot."""
    found = []
    for row in await connection.fetch(DEFINITIONS):
        try:
            found.append(msgspec.json.decode(row[0], type=ToolDefinition))
        except msgspec.ValidationError:
            continue
    return tuple(found)


async def routes(connection: Connection) -> dict[str, str]:
    """The queue of jobs that name none, by tool."""
    return {row[0]: row[1] for row in await connection.fetch(ROUTES)}


async def alive(connection: Connection) -> frozenset[str]:
    """`name@version` of what some live worker runs."""
    return frozenset(row[0] for row in await connection.fetch(ALIVE))
