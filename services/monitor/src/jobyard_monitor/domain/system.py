"""How the whole is, from what its services last said and whether they answer.

A service that misses beats is asked over HTTP before it is called down: late beats may only mean that Kafka or this
monitor is behind, and a refused connection is known at once where silence takes ten seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

REQUIRED = ("gateway", "executor", "files", "monitor")
FRESH = timedelta(seconds=3)
"""A beat comes every two seconds: one that is older than this was missed."""
LOST = timedelta(seconds=10)
FORGOTTEN = timedelta(minutes=10)


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class Answer(StrEnum):
    """What a direct question told."""

    ALIVE = "alive"
    REFUSED = "refused"
    SILENT = "silent"
    UNASKED = "unasked"


@dataclass(frozen=True)
class Beat:
    """The last heartbeat of one instance."""

    service: str
    instance: str
    version: str
    started_at: datetime
    at: datetime
    status: str
    checks: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class InstanceView:
    instance: str
    status: Status
    detail: str
    beat: Beat


@dataclass(frozen=True)
class ServiceView:
    name: str
    status: Status
    instances: tuple[InstanceView, ...]
    newest: Beat | None


def late(beats: Sequence[Beat], *, now: datetime) -> set[str]:
    """The required services of which no instance has beaten in time: the ones to ask."""
    fresh = {beat.service for beat in beats if now - beat.at <= FRESH}
    return set(REQUIRED) - fresh


def services(beats: Sequence[Beat], answers: Mapping[str, Answer], *, now: datetime) -> tuple[ServiceView, ...]:
    """Every required service, and every other one that was heard of lately, by name."""
    names = [*REQUIRED, *sorted({beat.service for beat in beats if now - beat.at <= FORGOTTEN} - set(REQUIRED))]
    return tuple(_service(name, beats, answers.get(name, Answer.UNASKED), now=now) for name in names)


def _service(name: str, beats: Sequence[Beat], answer: Answer, *, now: datetime) -> ServiceView:
    mine = sorted((beat for beat in beats if beat.service == name), key=lambda beat: beat.at, reverse=True)
    views = [_instance(beat, answer, now=now) for beat in mine]
    # A dead instance beside a living one was replaced or scaled away; it is shown for a while and counts for nothing.
    living = [view for view in views if view.status is not Status.DOWN]
    shown = [view for view in views if now - view.beat.at <= FORGOTTEN or view.beat is mine[0]]
    if not mine:
        status = Status.DEGRADED if answer is Answer.ALIVE else Status.DOWN
    elif not living:
        status = Status.DOWN
    else:
        status = Status.OK if all(view.status is Status.OK for view in living) else Status.DEGRADED
    return ServiceView(name, status, tuple(shown), mine[0] if mine else None)


def _instance(beat: Beat, answer: Answer, *, now: datetime) -> InstanceView:
    age = now - beat.at
    said = Status(beat.status) if beat.status in set(Status) else Status.DEGRADED
    silence = f"no heartbeat for {age.total_seconds():.0f} s"
    if age <= FRESH:
        return InstanceView(beat.instance, said, "", beat)
    if answer is Answer.REFUSED:
        return InstanceView(beat.instance, Status.DOWN, f"{silence}; the connection is refused", beat)
    if age <= LOST:
        return InstanceView(beat.instance, said, "", beat)
    if answer is Answer.ALIVE and age <= FORGOTTEN:
        return InstanceView(beat.instance, Status.DEGRADED, f"{silence}, but it answers", beat)
    return InstanceView(beat.instance, Status.DOWN, silence, beat)


def overall(views: Sequence[ServiceView]) -> Status:
    """`down` when a required service is down, `ok` only when all are."""
    required = [view.status for view in views if view.name in REQUIRED]
    if Status.DOWN in required:
        return Status.DOWN
    return Status.OK if all(status is Status.OK for status in required) else Status.DEGRADED
