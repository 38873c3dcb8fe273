"""At its start an executor stores the queues and routes of its settings; what operators changed since stays."""

from __future__ import annotations

import asyncpg

from jobyard_executor.domain.limits import Limit
from jobyard_executor.domain.queue_file import Declared
from jobyard_executor.store import limits, queues


async def declare_queues(pool: asyncpg.Pool, declared: Declared) -> None:
    """Safe to repeat, and by several executors at once."""
    async with pool.acquire() as connection, connection.transaction():
        for name, queue in sorted(declared.queues.items()):
            key = f"queue:{name}"
            before = await limits.lock(connection, key)
            if before is not None and not before.declared:
                continue
            if queue.concurrency is not None or queue.rate is not None:
                wanted = Limit(queue.concurrency, queue.rate)
                if before is None or not before.says(wanted):
                    await limits.put(connection, key, wanted, declared=True)
            elif before is not None:
                await limits.remove(connection, key)
        for name, queue in sorted(declared.queues.items()):
            await queues.declare(connection, name, weight=queue.weight, max_waiting=queue.max_waiting)
        for tool, target in sorted(declared.routes.items()):
            await queues.put_route(connection, tool, target, declared=True)
