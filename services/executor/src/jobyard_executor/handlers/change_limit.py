"""Somebody puts a limit on a key, or takes it away: claims follow within half a second, and count live leases only."""

from __future__ import annotations

import asyncpg
import msgspec
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.messaging import outbox

from jobyard_executor.domain.limits import MAX_PER_TENANT, OF_TENANT, Kind, Limit, LimitKey
from jobyard_executor.handlers.change_queue import Stale
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import audit, limits
from jobyard_executor.store.limits import LimitRow


class UnknownLimit(Exception):
    """Nobody put a limit on this key."""


class TooManyLimits(Exception):
    """A tenant has as many limits as it may have."""


async def put_limit(
    engine: Engine, pool: asyncpg.Pool, caller: Caller, key: LimitKey, *, limit: Limit, tag: str | None
) -> tuple[LimitRow, bool]:
    """The limit, and whether it is new.

    Raises:
        Stale: it is not the one with this tag.
        TooManyLimits
    """
    if key.kind is Kind.KEY and limit.concurrency is None:
        limit = msgspec.structs.replace(limit, concurrency=1)
    async with pool.acquire() as connection, connection.transaction():
        before = await _lock(connection, key, tag)
        mine = before is None and key.kind in OF_TENANT
        if mine and await limits.own_count(connection, caller.tenant) >= MAX_PER_TENANT:
            raise TooManyLimits(key.public)
        row = await limits.put(connection, key.stored, limit)
        await _tell(engine, connection, caller, key, "limit.put", msgspec.to_builtins(limit))
    engine.wake_relay()
    engine.wake_claim()
    return row, before is None


async def remove_limit(engine: Engine, pool: asyncpg.Pool, caller: Caller, key: LimitKey, *, tag: str | None) -> None:
    """What a tool declares holds again; a concurrency key runs one job at a time again.

    Raises:
        UnknownLimit, Stale.
    """
    async with pool.acquire() as connection, connection.transaction():
        before = await _lock(connection, key, tag)
        if before is None or before.declared:
            raise UnknownLimit(key.public)
        declared = await limits.declared_concurrency(connection, key.name) if key.kind is Kind.TOOL else None
        if declared is not None:
            await limits.put(connection, key.stored, Limit(declared), declared=True)
        else:
            await limits.remove(connection, key.stored)
        await _tell(engine, connection, caller, key, "limit.remove", {})
    engine.wake_relay()
    engine.wake_claim()


async def _lock(connection: Connection, key: LimitKey, tag: str | None) -> LimitRow | None:
    """The row that somebody put; what a claim made for itself does not count."""
    found = await limits.lock(connection, key.stored)
    before = None if found is None or found.auto else found
    if tag is not None and tag != (str(before.version) if before else "0"):
        raise Stale(str(before.version) if before else "0")
    return before


async def _tell(
    engine: Engine, connection: Connection, caller: Caller, key: LimitKey, action: str, detail: dict[str, object]
) -> None:
    record = audit.record(
        tenant=caller.tenant,
        actor=caller.actor,
        action=action,
        target=key.public,
        at=engine.clock.now(),
        detail=detail,
    )
    await outbox.put(connection, [record])
