"""When something that repeats happens next: cron in a time zone, a fixed interval, one moment.

Cron has five fields (minute, hour, day of month, month, day of week; names, ranges, lists, steps, `L`, `LW`, `n#m`) or
a name such as `@daily`. When clocks change, the rule is Debian's: an entry whose minute and hour are both fixed (no
leading `*`) fires once a day, in a gap at the first moment after it, in an overlap the first time; an entry with a
wildcard follows elapsed time, so `*/30 * * * *` fires every half hour whatever the clocks show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MAX_EXPRESSION = 256
_TICK = timedelta(microseconds=1)


class NotACron(ValueError):
    """The expression cannot be read, or names a day that no month has; the text says which field."""


class UnknownZone(ValueError):
    """No time zone of the IANA database has this name."""


class Recurrence(Protocol):
    """Moments are UTC."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """All moments after `moment`, oldest first."""

    def before(self, moment: datetime, *, steps: int) -> datetime | None:
        """About the `steps`-th moment before `moment`, the oldest if there are fewer, None if there is none."""


@dataclass(frozen=True)
class Cron:
    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> Iterator[datetime]:
        last = moment
        for local in CronSim(self.expression, moment.astimezone(self.zone)):
            found = local.astimezone(UTC)
            # An overlap is walked by its wall clock, a gap sends two entries to one moment.
            if found > last:
                last = found
                yield found

    def before(self, moment: datetime, *, steps: int) -> datetime | None:
        found = list(islice(self._backwards(moment), steps))
        return found[-1].astimezone(UTC) if found else None

    def _backwards(self, moment: datetime) -> Iterator[datetime]:
        yield from CronSim(self.expression, moment.astimezone(self.zone), reverse=True)


@dataclass(frozen=True)
class Every:
    interval: timedelta
    anchor: datetime

    def after(self, moment: datetime) -> Iterator[datetime]:
        passed = max(0, (moment - self.anchor) // self.interval + 1) if moment >= self.anchor else 0
        while True:
            yield self.anchor + passed * self.interval
            passed += 1

    def before(self, moment: datetime, *, steps: int) -> datetime | None:
        number = -((self.anchor - moment) // self.interval) - steps
        return self.anchor + max(0, number) * self.interval if moment > self.anchor else None


@dataclass(frozen=True)
class Once:
    at: datetime

    def after(self, moment: datetime) -> Iterator[datetime]:
        if self.at > moment:
            yield self.at

    def before(self, moment: datetime, *, steps: int) -> datetime | None:
        return self.at if self.at < moment else None


def cron(expression: str, *, zone: str) -> Cron:
    """Raises NotACron or UnknownZone."""
    return Cron(_checked(expression), time_zone(zone))


def time_zone(name: str) -> ZoneInfo:
    """Raises UnknownZone."""
    if name not in _zones():
        raise UnknownZone(f"No time zone is called {name[:64]!r}; write it as Europe/Berlin or UTC.")
    return ZoneInfo(name)


def following(recurrence: Recurrence, moment: datetime) -> datetime | None:
    """The first moment after `moment`, None if there is no more."""
    return next(iter(recurrence.after(moment)), None)


def newest(recurrence: Recurrence, *, since: datetime, until: datetime, most: int) -> tuple[list[datetime], bool]:
    """The last `most` moments from `since` to `until`, both inclusive, oldest first; and whether older ones were left.

    The work grows with `most`, never with the time between.
    """
    start = recurrence.before(until + _TICK, steps=most + 2)
    begin = since if start is None else max(since, start)
    found = []
    for moment in recurrence.after(begin - _TICK):
        if moment > until:
            break
        found.append(moment)
    kept = found[-most:]
    if not kept:
        return [], False
    first = following(recurrence, since - _TICK)
    return kept, first is not None and first < kept[0]


@lru_cache(maxsize=4096)
def _checked(expression: str) -> str:
    text = NAMES.get(expression.strip().lower(), expression)
    if text.startswith("@"):
        raise NotACron(f"No schedule is called so; known are {', '.join(NAMES)}.")
    if len(text) > MAX_EXPRESSION:
        raise NotACron(f"At most {MAX_EXPRESSION} characters.")
    if not text.isascii() or len(text.split()) != 5:
        raise NotACron("Five fields: minute, hour, day of month, month, day of week; or a name such as @daily.")
    try:
        found = next(CronSim(text, datetime.now(UTC)), None)
    except CronSimError as error:
        raise NotACron(f"{error}: no such value, or no month has such a day.") from None
    if found is None:
        raise NotACron("No such day comes in the next 50 years.")
    return text


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
