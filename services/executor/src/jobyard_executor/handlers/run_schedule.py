"""Fires that somebody asks for: one now, or those of a range of the past."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import msgspec
from jobyard_common.contracts.schedules import Overlap
from jobyard_common.contracts.wire import milliseconds
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging import outbox

from jobyard_executor.domain.schedule import FireKind, FireOutcome, Schedule, Verdict, judge, upcoming
from jobyard_executor.handlers.bear_steps import know_tools
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_schedules import Firing
from jobyard_executor.handlers.put_schedule import locked
from jobyard_executor.store import audit
from jobyard_executor.store import schedules as store
from jobyard_executor.store.schedules import Fire

MAX_BACKFILL = 10_000
SHOWN = 100
_MS = timedelta(milliseconds=1)


class TriggerBody(msgspec.Struct, forbid_unknown_fields=True):
    overlap: Overlap | None = None


class BackfillBody(msgspec.Struct, forbid_unknown_fields=True):
    """From `since` (inclusive) to `until` (exclusive, at most now)."""

    since: datetime
    until: datetime
    overlap: Overlap | None = None
    dry_run: bool = False


class Backfill(msgspec.Struct):
    """`count` fires that will happen, the first of them, and how many had happened before."""

    count: int
    fires: list[datetime]
    already: int


async def trigger(
    engine: Engine, connection: Connection, schedule_id: str, body: TriggerBody, *, caller: Caller
) -> tuple[Fire, list[tuple[str, int]]]:
    """Fire now, also while paused, under the schedule's overlap rule or another one.

    Raises:
        Problem: not_found.
    """
    schedule = await locked(connection, caller.tenant, schedule_id)
    fire_at = milliseconds(engine.clock.now())
    while await store.recorded(connection, schedule_id, fire_at):
        fire_at += _MS
    overlap = body.overlap or schedule.overlap
    busy = (await store.unfinished(connection, [schedule_id])).get(schedule_id, [])
    waiting = (await store.waiting(connection, [schedule_id])).get(schedule_id, 0)
    verdict = judge(overlap, [fire_at], unfinished=bool(busy), waiting=waiting)[0]
    await know_tools(engine, connection)
    firing = Firing(engine, now=engine.clock.now())
    fire = firing.add(schedule, fire_at, FireKind.TRIGGER, verdict, overlap=overlap, replaced=busy)
    stops = await firing.apply(connection)
    await store.advance(connection, [schedule])
    await _audit(
        engine, connection, caller, "schedule.trigger", schedule, {"outcome": fire.outcome, "job": fire.job_id}
    )
    return fire, stops


async def backfill(
    engine: Engine, connection: Connection, schedule_id: str, body: BackfillBody, *, caller: Caller
) -> Backfill:
    """Make good the fires of a range that have no job yet; each waits for its turn with the timers.

    Raises:
        Problem: not_found or validation_failed.
    """
    schedule = await locked(connection, caller.tenant, schedule_id)
    now = engine.clock.now()
    if body.until > now:
        raise Problem("validation_failed", errors=[FieldError("/until", "Lies ahead: those fires come by themselves.")])
    moments = list(islice(_moments(schedule, body), MAX_BACKFILL + 1))
    if len(moments) > MAX_BACKFILL:
        raise Problem(
            "validation_failed", errors=[FieldError("/since", f"The range holds more than {MAX_BACKFILL} fires.")]
        )
    taken = await store.taken(connection, schedule_id, moments)
    todo = [moment for moment in moments if moment not in taken]
    found = Backfill(len(todo), todo[:SHOWN], len(taken))
    if body.dry_run or not todo:
        return found
    await know_tools(engine, connection)
    firing = Firing(engine, now=now)
    last = (schedule.last_fire_at, schedule.last_outcome, schedule.last_job_id)
    for moment in todo:
        firing.add(schedule, moment, FireKind.BACKFILL, Verdict(FireOutcome.WAITING), overlap=_rule(schedule, body))
    schedule.last_fire_at, schedule.last_outcome, schedule.last_job_id = last
    await firing.apply(connection)
    await store.advance(connection, [schedule])
    await _audit(engine, connection, caller, "schedule.backfill", schedule, {"count": len(todo)})
    return found


def _rule(schedule: Schedule, body: BackfillBody) -> Overlap:
    """To skip or replace what the same backfill starts would leave one job of it."""
    wanted = body.overlap or schedule.overlap
    return Overlap.ALLOW if wanted is Overlap.ALLOW else Overlap.QUEUE


def _moments(schedule: Schedule, body: BackfillBody) -> Iterator[datetime]:
    moment = upcoming(schedule, body.since - timedelta(microseconds=1))
    while moment is not None and moment < body.until:
        yield moment
        moment = upcoming(schedule, moment)


async def _audit(
    engine: Engine,
    connection: Connection,
    caller: Caller,
    action: str,
    schedule: Schedule,
    detail: dict[str, object],
) -> None:
    entry = audit.record(
        tenant=caller.tenant,
        actor=caller.actor,
        action=action,
        target=schedule.id,
        at=engine.clock.now(),
        detail={"name": schedule.name, **detail},
    )
    await outbox.put(connection, [entry])
