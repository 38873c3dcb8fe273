"""Which partitions by day a table needs, and which are too old.

Rows of other days go to the default partition, so a clock that is wrong loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)
_NAME = re.compile(r"^(?P<table>[a-z_]+)_(?P<day>\d{8})$")


@dataclass(frozen=True)
class Partition:
    """One day, UTC, of one table."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def begins(self) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)

    @property
    def ends(self) -> datetime:
        return self.begins + DAY


@dataclass(frozen=True)
class Plan:
    create: tuple[Partition, ...]
    drop: tuple[Partition, ...]


def plan(table: str, *, existing: Iterable[str], now: datetime, keep: timedelta, ahead: int) -> Plan:
    """Yesterday to `ahead` days from now must exist; a day that ended more than `keep` ago goes."""
    have = {found for found in (parse(name) for name in existing) if found is not None and found.table == table}
    today = now.astimezone(UTC).date()
    wanted = {Partition(table, today + offset * DAY) for offset in range(-1, ahead + 1)}
    gone = {one for one in have if one.ends <= now - keep}
    create = sorted((one for one in wanted - have if one.ends > now - keep), key=lambda one: one.day)
    return Plan(tuple(create), tuple(sorted(gone, key=lambda one: one.day)))


def parse(name: str) -> Partition | None:
    """The partition of that name; None for anything else, such as the default partition."""
    found = _NAME.match(name)
    if found is None:
        return None
    try:
        day = datetime.strptime(found["day"], "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return Partition(found["table"], day)
