"""Schedules: which moments are due, and what a fire does while an earlier job of the schedule has not ended.

A fire time makes at most one job: the row (schedule, fire time) is the token, and the job's id is derived from both.
Pure; moments are UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

import msgspec
from jobyard_common.contracts.ids import keyed_id
from jobyard_common.contracts.schedules import CatchUp, Overlap
from jobyard_common.runtime.recurrence import Every, Once, Recurrence, cron, following, newest

LATE = timedelta(seconds=60)
"""A fire later than this was missed, and `catch_up` decides what becomes of it."""
MAX_CATCH_UP = 1000
MAX_VISIT = 100
MAX_WAITING = 1000
_TICK = timedelta(microseconds=1)


class FireKind(StrEnum):
    """Why a fire happened: its time came, it was missed and made good, or somebody asked for it."""

    TIMER = "timer"
    CATCH_UP = "catch_up"
    TRIGGER = "trigger"
    BACKFILL = "backfill"


class FireOutcome(StrEnum):
    STARTED = "started"
    SKIPPED = "skipped"
    WAITING = "waiting"
    MISSED = "missed"


class Schedule(msgspec.Struct):
    """A row of `schedule`, in the order of `store.schedules.COLUMNS`. `next_at` None: no fire will come."""

    id: str
    tenant: str
    version: int
    name: str
    template: str
    spec: str
    cron: str | None
    timezone: str | None
    interval_s: float | None
    at: datetime | None
    overlap: Overlap
    catch_up: CatchUp
    starts_at: datetime | None
    ends_at: datetime | None
    jitter_s: float
    paused: bool
    anchor: datetime
    secret: bytes
    created_at: datetime
    created_by: str
    changed_at: datetime
    made_hash: str | None
    next_at: datetime | None
    waiting: bool
    looked_at: datetime
    last_fire_at: datetime | None
    last_outcome: str | None
    last_job_id: str | None

    @property
    def recurrence(self) -> Recurrence:
        if self.cron is not None:
            return cron(self.cron, zone=self.timezone or "UTC")
        if self.interval_s is not None:
            return Every(timedelta(seconds=self.interval_s), self.anchor)
        assert self.at is not None
        return Once(self.at)

    def job_id(self, fire_at: datetime, *, cell: str) -> str:
        """The one job that a fire time can have, whichever replica fires it."""
        micros = str(int(fire_at.timestamp() * 1_000_000))
        return keyed_id(
            "job", self.secret, tenant=self.tenant, operation="schedule", target=self.id, key=micros, cell=cell
        )


class Due(msgspec.Struct):
    """`missed` is the first of the moments that are given up, with the last of them."""

    fires: list[datetime]
    missed: tuple[datetime, datetime] | None
    next_at: datetime | None


def due(schedule: Schedule, *, now: datetime) -> Due:
    """What is to be done of the moments from `next_at` until now.

    At most `MAX_VISIT` fires at a time; the rest is due again at once.
    """
    assert schedule.next_at is not None
    recurrence, since = schedule.recurrence, schedule.next_at
    until = now if schedule.ends_at is None else min(now, schedule.ends_at - _TICK)
    most = MAX_CATCH_UP if schedule.catch_up is CatchUp.ALL else 1
    fires, older = newest(recurrence, since=since, until=until, most=most)
    if not fires:
        return Due([], None, upcoming(schedule, now))
    if schedule.catch_up is CatchUp.NONE and now - fires[-1] > LATE:
        return Due([], (since, fires[-1]), upcoming(schedule, now))
    missed = (since, fires[0] - _TICK) if older else None
    if len(fires) > MAX_VISIT:
        return Due(fires[:MAX_VISIT], missed, fires[MAX_VISIT])
    return Due(fires, missed, upcoming(schedule, now))


def upcoming(schedule: Schedule, moment: datetime) -> datetime | None:
    """The first fire after `moment`, within `starts_at` (inclusive) and `ends_at` (exclusive)."""
    if schedule.starts_at is not None and schedule.starts_at > moment:
        moment = schedule.starts_at - _TICK
    found = following(schedule.recurrence, moment)
    return None if found is None or (schedule.ends_at is not None and found >= schedule.ends_at) else found


def preview(schedule: Schedule, *, now: datetime, count: int) -> list[datetime]:
    """The next fires as things stand; none while it is paused."""
    found: list[datetime] = []
    moment = schedule.next_at
    while moment is not None and len(found) < count and not schedule.paused:
        found.append(moment)
        moment = upcoming(schedule, moment)
    return found


class Verdict(msgspec.Struct, frozen=True):
    """What a fire does; `replaces` says that unfinished jobs are cancelled for it."""

    outcome: FireOutcome
    reason: str | None = None
    replaces: bool = False


STARTED = Verdict(FireOutcome.STARTED)


def judge(overlap: Overlap, fires: Sequence[datetime], *, unfinished: bool, waiting: int) -> list[Verdict]:
    """One verdict for each of some fires of one schedule that come at once, oldest first.

    `unfinished` says that an earlier job has not ended, `waiting` how many fires wait for their turn already.
    """
    count = len(fires)
    match overlap:
        case Overlap.ALLOW:
            return [STARTED] * count
        case Overlap.SKIP:
            first = [] if unfinished or not count else [STARTED]
            return first + [Verdict(FireOutcome.SKIPPED, "overlap")] * (count - len(first))
        case Overlap.REPLACE:
            replaced = [Verdict(FireOutcome.SKIPPED, "replaced")] * (count - 1)
            return [*replaced, Verdict(FireOutcome.STARTED, replaces=unfinished)][-count:] if count else []
        case Overlap.QUEUE:
            return _queue(count, busy=unfinished or waiting > 0, waiting=waiting)
        case _:
            assert_never(overlap)


def held(verdicts: Sequence[Verdict], *, waiting: int) -> list[Verdict]:
    """The same fires while their queue is full: what would start waits for room, as far as more may wait."""
    found: list[Verdict] = []
    for verdict in verdicts:
        waits = waiting + sum(one.outcome is FireOutcome.WAITING for one in found) < MAX_WAITING
        if verdict.outcome is FireOutcome.STARTED:
            verdict = Verdict(FireOutcome.WAITING if waits else FireOutcome.SKIPPED, "queue_full")
        found.append(verdict)
    return found


def _queue(count: int, *, busy: bool, waiting: int) -> list[Verdict]:
    found = [] if busy or not count else [STARTED]
    places = max(0, min(count - len(found), MAX_WAITING - waiting))
    found += [Verdict(FireOutcome.WAITING)] * places
    return found + [Verdict(FireOutcome.SKIPPED, "queue_full")] * (count - len(found))
