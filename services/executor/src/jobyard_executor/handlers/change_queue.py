"""An operator changes a queue: pause, resume, drain, its weight and its limits, in one transaction with its audit."""

from __future__ import annotations

import asyncpg
import msgspec
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.messaging import outbox
from msgspec import UNSET

from jobyard_executor.domain.limits import Limit, QueueChange, QueueLimits
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import audit, limits, queues
from jobyard_executor.store.limits import LimitRow
from jobyard_executor.store.queues import QueueRow


class UnknownQueue(Exception):
    """No queue has this name."""


class Stale(Exception):
    """It was changed since it was read; the text is the tag that it has now."""


class Seen(msgspec.Struct, frozen=True):
    """A queue with the limit on it."""

    row: QueueRow
    limit: LimitRow | None

    @property
    def tag(self) -> str:
        return f"{self.row.version}.{self.limit.version if self.limit else 0}"


async def see_queue(connection: Connection, name: str) -> Seen:
    """Raises UnknownQueue."""
    found = (await queues.all_queues(connection)).get(name)
    if found is None:
        raise UnknownQueue(name)
    return Seen(found, await limits.get(connection, f"queue:{name}"))


async def change_queue(
    engine: Engine, pool: asyncpg.Pool, caller: Caller, name: str, *, change: QueueChange, tag: str | None, verb: str
) -> Seen:
    """Apply a change if the queue still has this tag; `verb` names it in the audit.

    Raises:
        UnknownQueue, Stale.
    """
    async with pool.acquire() as connection, connection.transaction():
        if name not in await queues.all_queues(connection):
            raise UnknownQueue(name)
        limit = await limits.lock(connection, f"queue:{name}")
        before = Seen(await queues.lock(connection, name), limit)
        if tag is not None and tag != before.tag:
            raise Stale(before.tag)
        row = await queues.change(connection, _changed(before.row, change))
        if change.limits is not UNSET:
            limit = await _put_limit(connection, before, change.limits)
        record = audit.record(
            tenant=caller.tenant,
            actor=caller.actor,
            action=f"queue.{verb}",
            target=name,
            at=engine.clock.now(),
            detail=msgspec.to_builtins(change),
        )
        await outbox.put(connection, [record])
    engine.wake_relay()
    engine.wake_claim()
    return Seen(row, limit)


def _changed(row: QueueRow, change: QueueChange) -> QueueRow:
    given = {
        name: getattr(change, name) for name in ("paused", "draining", "weight") if getattr(change, name) is not UNSET
    }
    if change.limits is not UNSET and change.limits.max_waiting is not UNSET:
        given["max_waiting"] = change.limits.max_waiting
    if "weight" in given or "max_waiting" in given:
        given["declared"] = False
    return msgspec.structs.replace(row, **given)


async def _put_limit(connection: Connection, before: Seen, wanted: QueueLimits) -> LimitRow | None:
    old = before.limit
    rate = (old.rate if old else None) if wanted.rate is UNSET else wanted.rate
    concurrency = (old.n if old else None) if wanted.concurrency is UNSET else wanted.concurrency
    key = f"queue:{before.row.name}"
    if rate is None and concurrency is None:
        await limits.remove(connection, key)
        return None
    return await limits.put(connection, key, Limit(concurrency, rate))
