"""An operator drains a worker, or lets it work again: the order is kept by instance, so it survives a restart."""

from __future__ import annotations

import asyncpg
from jobyard_common.http.internal import Caller
from jobyard_common.messaging import outbox

from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import audit, workers


class UnknownWorker(Exception):
    """No worker of this name was seen lately."""


async def drain_worker(engine: Engine, pool: asyncpg.Pool, caller: Caller, instance: str, *, drained: bool) -> None:
    """From its next claim on the worker takes nothing; what runs there ends as ever.

    Raises:
        UnknownWorker
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await workers.known(connection, instance):
            raise UnknownWorker(instance)
        if drained:
            await workers.drain(connection, instance)
        else:
            await workers.resume(connection, instance)
        record = audit.record(
            tenant=caller.tenant,
            actor=caller.actor,
            action="worker.drain" if drained else "worker.resume",
            target=instance,
            at=engine.clock.now(),
        )
        await outbox.put(connection, [record])
    engine.wake_relay()
    engine.wake_claim()
