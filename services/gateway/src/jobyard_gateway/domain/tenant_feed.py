"""The events of one tenant as a feed: which a reader wants, which of them still matter, and where it can go on.

A reader that falls behind is told the last event of each job, not every one: an event carries the whole job. The id
of an event is the position after it in every partition of `jobs.events`. An event that was superseded lies before the
one that superseded it, in the same partition; so whoever goes on at an id misses no last word and gets none twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from jobyard_common.contracts.jobs import Actor, JobEvent
from jobyard_common.contracts.wire import WireError, decode, parse_rfc3339
from jobyard_common.messaging.inbound import Inbound

from jobyard_gateway.domain import views

MOST_WAITING = 2_000
_ID = re.compile(r"[0-9a-z]{1,13}(?:-[0-9a-z]{1,13}){0,255}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct):
    """What filters look at."""

    id: str
    tool: str = ""
    state: str = ""
    queue: str = ""
    tags: list[str] = []
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    correlation_id: str = ""
    created_at: str = ""
    parent_id: str | None = None
    schedule_id: str | None = None
    workflow_id: str | None = None


class Change(msgspec.Struct):
    """One event of a job, and where it was read."""

    partition: int
    offset: int
    tenant: str
    type: str
    at: str
    event: JobEvent
    head: Head


class _Told(msgspec.Struct):
    """What a reader gets of an event."""

    type: str
    at: str
    incarnation: int
    event_no: int
    actor: Actor
    job: msgspec.Raw


_head = msgspec.json.Decoder(Head)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
Wanted = Callable[[Head], bool]


def change_of(record: Inbound) -> Change | None:
    """The event in a record of `jobs.events`; None for anything else."""
    try:
        event = decode(JobEvent, record.value or b"")
        head = _head.decode(event.job)
    except (WireError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    kind, at = record.header("ce_type"), record.header("ce_time")
    return Change(record.partition, record.offset, event.tenant, kind, at, event, head)


def told(change: Change) -> bytes:
    """The data of an event: what happened, and the job after it."""
    event = change.event
    job = msgspec.Raw(views.with_links(bytes(event.job)))
    return _encode(_Told(change.type, change.at, event.incarnation, event.event_no, event.actor, job))


def wanted(pairs: Sequence[tuple[str, str]]) -> Wanted:
    """The filters of the job list, for one job."""
    tests: list[Wanted] = []
    for name, member in (("state", "state"), ("tool", "tool"), ("queue", "queue")):
        if any_of := frozenset(value for key, value in pairs if key == name):
            tests.append(_any_of(member, any_of))
    for name, value in pairs:
        if name == "tag":
            tests.append(_has_tag(value))
        elif name.startswith("metadata."):
            tests.append(_has_metadata(name[9:], value))
        elif name in ("correlation_id", "parent_id", "schedule_id", "workflow_id"):
            tests.append(_any_of(name, frozenset({value})))
        elif name == "created_after":
            tests.append(_created(parse_rfc3339(value), after=True))
        elif name == "created_before":
            tests.append(_created(parse_rfc3339(value), after=False))
    return lambda head: all(test(head) for test in tests)


def _any_of(member: str, values: frozenset[str]) -> Wanted:
    return lambda head: getattr(head, member) in values


def _has_tag(tag: str) -> Wanted:
    return lambda head: tag in head.tags


def _has_metadata(name: str, value: str) -> Wanted:
    def test(head: Head) -> bool:
        found = _members.decode(head.metadata).get(name)
        if found is None:
            return False
        tree = msgspec.json.decode(found)
        return value == (tree if isinstance(tree, str) else _encode(tree).decode())

    return test


def _created(moment: datetime, *, after: bool) -> Wanted:
    def test(head: Head) -> bool:
        try:
            created = parse_rfc3339(head.created_at)
        except ValueError:
            return False
        return created >= moment if after else created < moment

    return test


def text_of(position: Sequence[int]) -> str:
    """The id of a position."""
    return "-".join(map(_base36, position))


def position_of(text: str, *, partitions: int) -> list[int] | None:
    """The position that an id names; None if it is none of this topic."""
    if len(text) > 4096 or not _ID.fullmatch(text):
        return None
    found = [int(part, 36) for part in text.split("-")]
    return found if len(found) == partitions and max(found) < 2**63 else None


def _base36(number: int) -> str:
    digits = []
    while True:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
        if not number:
            return "".join(reversed(digits))


class Feed:
    """The last event of each job that a reader has not been given yet, in the order of their coming."""

    def __init__(self, tenant: str, wants: Wanted) -> None:
        self.tenant = tenant
        self.position: list[int] = []
        self.behind = False
        self.wants = wants
        self._waiting: dict[str, Change] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, change: Change) -> bool:
        """Take an event in; False if it is not for this reader or was given before.

        A reader with too much waiting is `behind`: what waits is dropped, to be read from the topic at its own pace.
        """
        if self.position and change.offset < self.position[change.partition]:
            return False
        before = self._waiting.pop(change.head.id, None)
        if not self.wants(change.head):
            # Its last word is one that the reader does not want; the one before it is no longer true.
            return before is not None
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self.behind = True
            return True
        self._waiting[change.head.id] = change
        return True

    def take(self) -> tuple[str, bytes] | None:
        """The next event with its id."""
        if not self._waiting or self.behind:
            return None
        job_id = next(iter(self._waiting))
        change = self._waiting.pop(job_id)
        self.position[change.partition] = change.offset + 1
        return text_of(self.position), told(change)

    def passed(self, position: Sequence[int]) -> None:
        """Everything before `position` was given or is not wanted, unless something waits."""
        if not self._waiting:
            self.position = [max(pair) for pair in zip(self.position, position, strict=True)]

    def begin(self, position: Sequence[int]) -> None:
        """Go on at `position`, which what waits already may lie before."""
        self.position = list(position)
        self._waiting = {
            job_id: change
            for job_id, change in self._waiting.items()
            if change.offset >= self.position[change.partition]
        }

    def restart(self) -> None:
        """Forget what waits; it will be read from the topic."""
        self._waiting.clear()
        self.behind = False
