"""A bulk operation is promised: what it will do is written down, and the timers do it step by step."""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.operations import BulkAction, BulkState
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging import outbox
from jobyard_common.telemetry.context import current_correlation, current_trace, new_trace

from jobyard_executor.domain.bulk import Bulk
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.run_bulk import FiltersOf, Options, selection
from jobyard_executor.store import audit, reading
from jobyard_executor.store import bulk as store

MAX_RUNNING = 100
MAX_IDS = 10_000
DRY_SAMPLE = 10


class BulkBody(msgspec.Struct, forbid_unknown_fields=True):
    """`filter` are query parameters of the job list; `dead` narrows it to open dead letters."""

    action: BulkAction
    filter: list[tuple[str, str]] | None = None
    ids: list[str] | None = None
    dead: bool = False
    rate_per_s: float | None = None
    run_at: datetime | None = None
    note: str | None = None
    dry_run: bool = False


class DryRun(msgspec.Struct):
    matched: int
    matched_capped: bool
    sample: list[reading.Shown]


async def make_bulk(
    engine: Engine, connection: Connection, body: BulkBody, filters_of: FiltersOf, *, caller: Caller, key: str | None
) -> tuple[Bulk, bool]:
    """The operation, and whether it is new: the same key makes no second one.

    Raises:
        Problem: validation_failed, idempotency_conflict, or conflict while too many run.
    """
    made_hash = hashlib.sha256(msgspec.json.encode(body)).hexdigest() if key else None
    bulk_id = new_id("blk", cell=engine.cell)
    if key:
        bulk_id = keyed_id("blk", b"bulk", tenant=caller.tenant, operation="create", key=key, cell=engine.cell)
        known = await store.get(connection, caller.tenant, bulk_id)
        if known is not None:
            return _same(known, made_hash), False
    if await store.running(connection, caller.tenant) >= MAX_RUNNING:
        raise Problem("conflict", f"{MAX_RUNNING} bulk operations run already; wait for one to end, or abort one.")
    bulk = draft(engine, body, caller=caller, bulk_id=bulk_id, made_hash=made_hash)
    bulk.matched, bulk.matched_capped = await _count(connection, bulk, filters_of)
    if not await store.insert(connection, bulk):
        known = await store.get(connection, caller.tenant, bulk_id)
        assert known is not None
        return _same(known, made_hash), False
    detail = {"action": bulk.action, "matched": bulk.matched, "note": bulk.note}
    await _audit(connection, caller, "bulk_operation.start", bulk, detail, now=bulk.created_at)
    return bulk, True


async def try_bulk(
    engine: Engine, connection: Connection, body: BulkBody, filters_of: FiltersOf, *, caller: Caller
) -> DryRun:
    """What an operation would touch; nothing changes.

    Raises:
        Problem: validation_failed.
    """
    bulk = draft(engine, body, caller=caller, bulk_id="", made_hash=None)
    matched, capped = await _count(connection, bulk, filters_of)
    if bulk.ids is not None:
        ids = [one for one in bulk.ids if one in await store.own(connection, caller.tenant, bulk.ids)][:DRY_SAMPLE]
    else:
        filters = selection(bulk, filters_of)
        found = await store.items(connection, caller.tenant, filters, after=None, limit=DRY_SAMPLE)
        ids = [job_id for _, job_id in found]
    shown = await reading.many(connection, ids)
    return DryRun(matched, capped, [shown[job_id] for job_id in ids if job_id in shown])


async def abort_bulk(engine: Engine, connection: Connection, bulk_id: str, *, caller: Caller) -> Bulk:
    """No further step; what is done stays done. Aborting one that has ended changes nothing.

    Raises:
        Problem: not_found.
    """
    bulk = await store.get(connection, caller.tenant, bulk_id, lock=True)
    if bulk is None:
        raise Problem("not_found")
    if bulk.state is BulkState.RUNNING:
        now = engine.clock.now()
        bulk.end(BulkState.ABORTED, now=now)
        await store.update(connection, bulk)
        await _audit(connection, caller, "bulk_operation.abort", bulk, {"seen": bulk.seen}, now=now)
    return bulk


def draft(engine: Engine, body: BulkBody, *, caller: Caller, bulk_id: str, made_hash: str | None) -> Bulk:
    if (body.filter is None) == (body.ids is None):
        raise Problem("validation_failed", errors=[FieldError("", "Give filter or ids.")])
    if body.action is BulkAction.RESCHEDULE and body.run_at is None:
        raise Problem("validation_failed", errors=[FieldError("/run_at", "Reschedule to when?")])
    now = engine.clock.now()
    trace = current_trace.get() or new_trace(sampled=False)
    options = Options(body.run_at, body.dead or body.action is BulkAction.DISCARD)
    return Bulk(
        id=bulk_id,
        tenant=caller.tenant,
        action=body.action,
        filter=None if body.filter is None else msgspec.json.encode(body.filter).decode(),
        ids=None if body.ids is None else list(dict.fromkeys(body.ids)),
        options=msgspec.json.encode(options).decode(),
        rate_per_s=body.rate_per_s,
        state=BulkState.RUNNING,
        actor=msgspec.json.encode(caller.actor).decode(),
        note=body.note,
        correlation_id=current_correlation.get() or trace.span_id,
        traceparent=trace.format(),
        created_at=now,
        made_hash=made_hash,
        matched=0,
        matched_capped=False,
        seen=0,
        applied=0,
        refused="{}",
        sample="[]",
        cursor_at=None,
        cursor_id=None,
        due_at=now,
        finished_at=None,
    )


async def _count(connection: Connection, bulk: Bulk, filters_of: FiltersOf) -> tuple[int, bool]:
    if bulk.ids is not None:
        return len(bulk.ids), False
    return await reading.count(connection, bulk.tenant, selection(bulk, filters_of))


def _same(known: Bulk, made_hash: str | None) -> Bulk:
    if known.made_hash != made_hash:
        raise Problem("idempotency_conflict", "This idempotency key belongs to another bulk operation.")
    return known


async def _audit(
    connection: Connection, caller: Caller, action: str, bulk: Bulk, detail: dict[str, object], *, now: datetime
) -> None:
    entry = audit.record(tenant=caller.tenant, actor=caller.actor, action=action, target=bulk.id, at=now, detail=detail)
    await outbox.put(connection, [entry])
