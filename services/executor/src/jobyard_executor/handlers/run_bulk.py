"""One step of a bulk operation: the next items, the same orders as for one job, and the cursor, in one transaction.

A process that dies in between leaves the cursor where it was; the command of each item is derived from operation and
job, so that not even a cursor set back by hand applies one twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import msgspec
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.jobs import Actor, CancelJob, ReplayJob, RescheduleJob, RetryJob
from jobyard_common.contracts.operations import BulkAction, BulkState, LetterState
from jobyard_common.db.connection import Connection
from jobyard_common.db.errors import is_poison
from jobyard_common.messaging import outbox
from jobyard_common.messaging.publisher import OutRecord

from jobyard_executor.domain.bulk import Bulk, due_after, step_size
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.orders import Order, OrderCommand, apply_orders
from jobyard_executor.store import audit, dead_letters
from jobyard_executor.store import bulk as store
from jobyard_executor.store.listing import Filters

LOOK_AGAIN = timedelta(seconds=1)
"""How long an operation waits for room before it looks again."""
MAKES_JOBS = (BulkAction.RETRY, BulkAction.REPLAY)
FiltersOf = Callable[[list[tuple[str, str]]], Filters]


class Options(msgspec.Struct, omit_defaults=True):
    """What an action needs beside its jobs; `dead` narrows a filter to open dead letters. `waits_for` says why it
    does not go on for the moment."""

    run_at: datetime | None = None
    dead: bool = False
    waits_for: str | None = None


async def step_bulk(engine: Engine, pool: asyncpg.Pool, filters_of: FiltersOf) -> bool:
    """Take one step of the operation that is due; False if none is.

    An item that the database cannot store is refused as `unstorable`, and the rest goes on.
    """
    try:
        return await _step(engine, pool, filters_of)
    except asyncpg.PostgresError as error:
        if not is_poison(error):
            raise
    try:
        return await _step(engine, pool, filters_of, most=1)
    except asyncpg.PostgresError as error:
        if not is_poison(error):
            raise
    return await _step(engine, pool, filters_of, most=1, skip=True)


async def _step(
    engine: Engine, pool: asyncpg.Pool, filters_of: FiltersOf, *, most: int | None = None, skip: bool = False
) -> bool:
    stops: list[tuple[str, int]] = []
    await engine.room.look()
    async with pool.acquire() as connection, connection.transaction():
        now = engine.clock.now()
        bulk = await store.take_due(connection, now=now)
        if bulk is None:
            return False
        found = await _items(connection, bulk, filters_of, limit=most or step_size(bulk.rate_per_s))
        queues = await _queues(connection, bulk, found)
        items, waits_for = _fitting(engine, bulk, found, queues)
        _note_waiting(bulk, waits_for)
        if items and bulk.ids is None:
            bulk.cursor_at, bulk.cursor_id = found[len(items) - 1]
        if not found:
            bulk.end(BulkState.DONE, now=now)
            await outbox.put(connection, [_finished(bulk, now=now)])
        elif skip:
            bulk.note_outcomes([(job_id, "unstorable") for job_id in items])
        else:
            bulk.note_outcomes(await _apply(engine, connection, bulk, items, stops))
            engine.room.take(bulk.tenant, [queues[job_id] for job_id in items if job_id in queues])
        bulk.due_at = due_after(bulk, len(items), now=now) if waits_for is None else now + LOOK_AGAIN
        await store.update(connection, bulk)
    for job_id, fence in stops:
        engine.stop_running(job_id, fence)
    engine.wake_claim()
    engine.wake_relay()
    return True


async def _items(
    connection: Connection, bulk: Bulk, filters_of: FiltersOf, *, limit: int
) -> list[tuple[datetime | None, str]]:
    """The next jobs, with their places."""
    if bulk.ids is not None:
        return [(None, job_id) for job_id in bulk.ids[bulk.seen : bulk.seen + limit]]
    filters = selection(bulk, filters_of)
    after = (bulk.cursor_at, bulk.cursor_id) if bulk.cursor_at is not None and bulk.cursor_id is not None else None
    return [*await store.items(connection, bulk.tenant, filters, after=after, limit=limit)]


async def _queues(connection: Connection, bulk: Bulk, found: list[tuple[datetime | None, str]]) -> dict[str, str]:
    """Where the jobs go that the items are made into; nowhere if the action makes none."""
    if bulk.action not in MAKES_JOBS or not found:
        return {}
    return await store.queues(connection, bulk.tenant, sorted(job_id for _, job_id in found))


def _fitting(
    engine: Engine, bulk: Bulk, found: list[tuple[datetime | None, str]], queues: dict[str, str]
) -> tuple[list[str], str | None]:
    """The items for whose new jobs there is room, and why the next one has to wait."""
    ids = [job_id for _, job_id in found]
    count, waits_for = engine.room.fitting(bulk.tenant, [queues.get(job_id) for job_id in ids])
    return ids[:count], waits_for


def _note_waiting(bulk: Bulk, waits_for: str | None) -> None:
    options = options_of(bulk)
    if options.waits_for != waits_for:
        bulk.options = msgspec.json.encode(msgspec.structs.replace(options, waits_for=waits_for)).decode()


def selection(bulk: Bulk, filters_of: FiltersOf) -> Filters:
    """What the filter means: jobs that were there when the operation began, none that it makes itself."""
    assert bulk.filter is not None
    filters = filters_of(msgspec.json.decode(bulk.filter, type=list[tuple[str, str]]))
    if filters.created_before is None or filters.created_before > bulk.created_at:
        filters.created_before = bulk.created_at
    if options_of(bulk).dead:
        filters.states, filters.letters = [], dead_letters.labels(LetterState.OPEN)
    return filters


def options_of(bulk: Bulk) -> Options:
    return msgspec.json.decode(bulk.options, type=Options)


async def _apply(
    engine: Engine, connection: Connection, bulk: Bulk, items: list[str], stops: list[tuple[str, int]]
) -> list[tuple[str, str]]:
    """(job, outcome) of each item, in their order."""
    known = await store.own(connection, bulk.tenant, items)
    if bulk.action is BulkAction.DISCARD:
        now = engine.clock.now()
        done = await dead_letters.discard(
            connection, bulk.tenant, sorted(known), note=bulk.note, actor=bulk.actor, at=now
        )
        return [(one, "applied" if one in done else "conflict" if one in known else "not_found") for one in items]
    orders = {job_id: _order(engine, bulk, job_id) for job_id in items if job_id in known}
    stops += await apply_orders(engine, connection, list(orders.values()))
    commands = {job_id: order.command.command_id for job_id, order in orders.items()}
    outcomes = await store.outcomes(connection, list(commands.values()))
    return [(one, outcomes[commands[one]] if one in commands else "not_found") for one in items]


def _order(engine: Engine, bulk: Bulk, job_id: str) -> Order:
    command_id = keyed_id("cmd", bulk.id.encode(), tenant=bulk.tenant, operation="bulk", target=bulk.id, key=job_id)
    head = (command_id, job_id, bulk.tenant, msgspec.json.decode(bulk.actor, type=Actor))
    command: OrderCommand
    if bulk.action is BulkAction.CANCEL:
        command = CancelJob(*head)
    elif bulk.action is BulkAction.RETRY:
        command = RetryJob(*head, new_id("job", cell=engine.cell))
    elif bulk.action is BulkAction.REPLAY:
        command = ReplayJob(*head, new_id("job", cell=engine.cell))
    else:
        run_at = options_of(bulk).run_at
        assert run_at is not None
        command = RescheduleJob(*head, run_at)
    return Order(command, bulk.traceparent, note=bulk.note)


def _finished(bulk: Bulk, *, now: datetime) -> OutRecord:
    return audit.record(
        tenant=bulk.tenant,
        actor=msgspec.json.decode(bulk.actor, type=Actor),
        action="bulk_operation.finish",
        target=bulk.id,
        at=now,
        detail={"action": bulk.action, "seen": bulk.seen, "applied": bulk.applied},
    )
