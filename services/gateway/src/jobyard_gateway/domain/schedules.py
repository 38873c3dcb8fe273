"""A schedule as people send it, and all that is wrong with one, at once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from jobyard_common.contracts.schedules import CatchUp, Overlap
from jobyard_common.contracts.wire import parse_rfc3339
from jobyard_common.runtime.recurrence import NotACron, UnknownZone, cron, time_zone
from msgspec import Meta

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.submission import TEN_YEARS_S, Moment, Name

MAX_JITTER_S = 86_400
NOT_IN_A_TEMPLATE = {
    "run_at": "The schedule says when.",
    "delay_s": "The schedule says when; jitter_s spreads its jobs.",
    "deadline_at": "A fixed moment means nothing for jobs that come again; use ttl_s and timeout_s.",
    "depends_on": "A job that comes again cannot wait for one that ran once; use a workflow.",
}


class ScheduleDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/schedules`: one of `cron`, `interval_s` and `at`. `template` is a submit."""

    name: Name
    template: msgspec.Raw
    cron: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    interval_s: Annotated[float, Meta(ge=1, le=TEN_YEARS_S)] | None = None
    at: Moment | None = None
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    jitter_s: Annotated[float, Meta(ge=0, le=MAX_JITTER_S)] = 0.0
    paused: bool = False


class TriggerDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/schedules/{id}/trigger`."""

    overlap: Overlap | None = None


class BackfillDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/schedules/{id}/backfill`: from `since` (inclusive) to `until` (exclusive, at most now)."""

    since: Moment
    until: Moment
    overlap: Overlap | None = None
    dry_run: bool = False


def meaning_faults(tree: dict[str, Any], *, now: datetime, new: bool) -> list[Fault]:
    """What shape alone does not tell. `tree` may have any shape; a past `at` may stay in a schedule that exists."""
    faults = [*_one_trigger(tree), *_cron_faults(tree)]
    moments = {name: _moment(tree.get(name)) for name in ("at", "starts_at", "ends_at")}
    for name, moment in moments.items():
        if moment is not None and (moment - now).total_seconds() > TEN_YEARS_S:
            faults.append(Fault(f"/{name}", "At most 10 years ahead."))
    at, starts, ends = moments.values()
    if new and at is not None and at <= now:
        faults.append(Fault("/at", "This moment has passed."))
    if at is not None and (starts is not None or ends is not None):
        faults.append(Fault("/at", "A single moment has no starts_at and ends_at."))
    if ends is not None and starts is not None and ends <= starts:
        faults.append(Fault("/ends_at", "It ends before it starts."))
    elif new and ends is not None and ends <= now:
        faults.append(Fault("/ends_at", "This moment has passed."))
    template = tree.get("template")
    if "template" in tree and not isinstance(template, dict):
        faults.append(Fault("/template", "Expected an object."))
    elif isinstance(template, dict):
        faults += [
            Fault(f"/template/{name}", message)
            for name, message in NOT_IN_A_TEMPLATE.items()
            if template.get(name) not in (None, [])
        ]
    return faults


def _one_trigger(tree: dict[str, Any]) -> list[Fault]:
    given = [name for name in ("cron", "interval_s", "at") if tree.get(name) is not None]
    if len(given) == 1:
        return []
    return [Fault(f"/{given[1]}" if given else "", "Give one of cron, interval_s and at.")]


def _cron_faults(tree: dict[str, Any]) -> list[Fault]:
    faults = []
    expression, zone = tree.get("cron"), tree.get("timezone")
    if isinstance(expression, str) and expression:
        try:
            cron(expression, zone="UTC")
        except NotACron as error:
            faults.append(Fault("/cron", str(error)))
    if zone is None:
        return faults
    if expression is None:
        faults.append(Fault("/timezone", "Only a cron expression has a time zone."))
    elif isinstance(zone, str):
        try:
            time_zone(zone)
        except UnknownZone as error:
            faults.append(Fault("/timezone", str(error)))
    return faults


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_rfc3339(value)
    except ValueError:
        return None
