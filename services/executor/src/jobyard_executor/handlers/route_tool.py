"""An operator says into which queue jobs of a tool go that name none."""

from __future__ import annotations

import asyncpg
from jobyard_common.http.internal import Caller
from jobyard_common.messaging import outbox

from jobyard_executor.handlers.change_queue import UnknownQueue
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import audit, queues
from jobyard_executor.store.queues import Route


class UnknownRoute(Exception):
    """No rule names this tool."""


async def route_tool(
    engine: Engine, pool: asyncpg.Pool, caller: Caller, tool: str, *, queue: str | None
) -> Route | None:
    """Put a rule, or take it away with None. Jobs that wait stay where they are.

    Raises:
        UnknownQueue, UnknownRoute.
    """
    async with pool.acquire() as connection, connection.transaction():
        if queue is None:
            if not await queues.remove_route(connection, tool):
                raise UnknownRoute(tool)
        elif queue in await queues.all_queues(connection):
            await queues.put_route(connection, tool, queue)
        else:
            raise UnknownQueue(queue)
        record = audit.record(
            tenant=caller.tenant,
            actor=caller.actor,
            action="route.remove" if queue is None else "route.put",
            target=tool,
            at=engine.clock.now(),
            detail={} if queue is None else {"queue": queue},
        )
        await outbox.put(connection, [record])
        found = await queues.route(connection, tool)
    engine.wake_relay()
    return found
