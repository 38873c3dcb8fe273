"""A schedule is made, changed as a whole, or deleted: one transaction with its audit entry."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

import msgspec
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.jobs import JobSpec
from jobyard_common.contracts.schedules import CatchUp, Overlap
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging import outbox
from jobyard_common.runtime.recurrence import NotACron, UnknownZone

from jobyard_executor.domain.schedule import Schedule, upcoming
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import audit
from jobyard_executor.store import schedules as store

MAX_SCHEDULES = 10_000
_TIMING = ("cron", "timezone", "interval_s", "at", "starts_at", "ends_at")


class ScheduleBody(msgspec.Struct, forbid_unknown_fields=True):
    """What the gateway has checked: `template` as it was sent, `spec` what its jobs are made from."""

    name: str
    template: msgspec.Raw
    spec: msgspec.Raw
    cron: str | None = None
    timezone: str | None = None
    interval_s: float | None = None
    at: datetime | None = None
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter_s: float = 0.0
    paused: bool = False


async def make_schedule(
    engine: Engine, connection: Connection, body: ScheduleBody, *, caller: Caller, key: str | None
) -> tuple[Schedule, bool]:
    """The schedule, and whether it is new: the same key makes no second one.

    Raises:
        Problem: idempotency_conflict, validation_failed, or conflict when the tenant has too many.
    """
    now = engine.clock.now()
    made_hash = hashlib.sha256(msgspec.json.encode(body)).hexdigest() if key else None
    schedule_id = new_id("sch", cell=engine.cell)
    if key:
        # Not a secret: the id says no more than that this tenant used this key.
        schedule_id = keyed_id("sch", b"schedule", tenant=caller.tenant, operation="create", key=key, cell=engine.cell)
        known = await store.get(connection, caller.tenant, schedule_id)
        if known is not None:
            return _same(known, made_hash), False
    if await store.count(connection, caller.tenant, most=MAX_SCHEDULES) >= MAX_SCHEDULES:
        raise Problem("conflict", f"A tenant has at most {MAX_SCHEDULES} schedules.")
    schedule = _schedule(body, caller=caller, now=now, schedule_id=schedule_id, made_hash=made_hash)
    schedule.next_at = _upcoming(schedule, now)
    if not await store.insert(connection, schedule):
        known = await store.get(connection, caller.tenant, schedule_id)
        assert known is not None
        return _same(known, made_hash), False
    await _audit(connection, caller, "schedule.create", schedule, now=now)
    return schedule, True


async def replace_schedule(
    engine: Engine,
    connection: Connection,
    schedule_id: str,
    body: ScheduleBody,
    *,
    caller: Caller,
    if_match: str | None,
) -> Schedule:
    """All members at once. The next fire moves only if the timing changed or a pause ended.

    Raises:
        Problem: not_found, precondition_failed or validation_failed.
    """
    now = engine.clock.now()
    old = await locked(connection, caller.tenant, schedule_id, if_match=if_match)
    new = _schedule(body, caller=caller, now=now, schedule_id=schedule_id, made_hash=old.made_hash)
    new.version, new.next_at, new.anchor = old.version + 1, old.next_at, old.anchor
    moved = any(getattr(old, name) != getattr(new, name) for name in _TIMING)
    if moved:
        new.anchor = new.starts_at or now
    if moved or (old.paused and not new.paused):
        new.next_at = _upcoming(new, now)
    await store.replace(connection, caller.tenant, new)
    await _audit(connection, caller, "schedule.replace", new, now=now)
    for name in ("created_at", "created_by", "last_fire_at", "last_outcome", "last_job_id"):
        setattr(new, name, getattr(old, name))
    return new


async def pause_schedule(
    engine: Engine, connection: Connection, schedule_id: str, *, paused: bool, caller: Caller, if_match: str | None
) -> Schedule:
    """Stop new fires, or let them come again from now on: what a pause left out is not made good.

    Raises:
        Problem: not_found or precondition_failed.
    """
    now = engine.clock.now()
    schedule = await locked(connection, caller.tenant, schedule_id, if_match=if_match)
    if schedule.paused == paused:
        return schedule
    schedule.paused, schedule.changed_at = paused, now
    schedule.version += 1
    if not paused:
        schedule.next_at = _upcoming(schedule, now)
    await store.replace(connection, caller.tenant, schedule)
    await _audit(connection, caller, f"schedule.{'pause' if paused else 'resume'}", schedule, now=now)
    return schedule


async def delete_schedule(
    engine: Engine, connection: Connection, schedule_id: str, *, caller: Caller, if_match: str | None
) -> None:
    """With its fires; its jobs stay.

    Raises:
        Problem: not_found or precondition_failed.
    """
    schedule = await locked(connection, caller.tenant, schedule_id, if_match=if_match)
    await store.delete(connection, caller.tenant, schedule_id)
    await _audit(connection, caller, "schedule.delete", schedule, now=engine.clock.now())


async def locked(connection: Connection, tenant: str, schedule_id: str, *, if_match: str | None = None) -> Schedule:
    """Raises Problem: not_found or precondition_failed."""
    schedule = await store.lock(connection, tenant, schedule_id)
    if schedule is None:
        raise Problem("not_found")
    wanted = [tag.strip().removeprefix("W/") for tag in (if_match or "*").split(",")]
    if "*" not in wanted and etag(schedule) not in wanted:
        raise Problem("precondition_failed", f"The schedule has changed: it is at version {schedule.version}.")
    return schedule


def etag(schedule: Schedule) -> str:
    return f'"{schedule.version}"'


def _same(known: Schedule, made_hash: str | None) -> Schedule:
    if known.made_hash != made_hash:
        raise Problem("idempotency_conflict", "This idempotency key belongs to another schedule.")
    return known


def _schedule(
    body: ScheduleBody, *, caller: Caller, now: datetime, schedule_id: str, made_hash: str | None
) -> Schedule:
    try:
        decode(JobSpec, bytes(body.spec))
    except WireError as error:
        raise Problem("validation_failed", errors=[FieldError("/template", str(error))]) from None
    if [body.cron, body.interval_s, body.at].count(None) != 2:
        raise Problem("validation_failed", errors=[FieldError("", "Give one of cron, interval_s and at.")])
    return Schedule(
        id=schedule_id,
        tenant=caller.tenant,
        version=1,
        name=body.name,
        template=bytes(body.template).decode(),
        spec=bytes(body.spec).decode(),
        cron=body.cron,
        timezone=body.timezone,
        interval_s=body.interval_s,
        at=body.at,
        overlap=body.overlap,
        catch_up=body.catch_up,
        starts_at=body.starts_at,
        ends_at=body.ends_at,
        jitter_s=body.jitter_s,
        paused=body.paused,
        anchor=body.starts_at or now,
        secret=secrets.token_bytes(32),
        created_at=now,
        created_by=f"{caller.actor.kind}:{caller.actor.id}",
        changed_at=now,
        made_hash=made_hash,
        next_at=None,
        waiting=False,
        looked_at=now,
        last_fire_at=None,
        last_outcome=None,
        last_job_id=None,
    )


def _upcoming(schedule: Schedule, now: datetime) -> datetime | None:
    try:
        return upcoming(schedule, now)
    except NotACron as error:
        raise Problem("validation_failed", errors=[FieldError("/cron", str(error))]) from None
    except UnknownZone as error:
        raise Problem("validation_failed", errors=[FieldError("/timezone", str(error))]) from None


async def _audit(connection: Connection, caller: Caller, action: str, schedule: Schedule, *, now: datetime) -> None:
    detail = {"name": schedule.name, "version": schedule.version}
    entry = audit.record(
        tenant=caller.tenant, actor=caller.actor, action=action, target=schedule.id, at=now, detail=detail
    )
    await outbox.put(connection, [entry])
