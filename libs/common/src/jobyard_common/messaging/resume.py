"""Where a consumer goes on, and whether what it finds there is still the log that it knows: pure rules.

PostgreSQL holds `next`, the offset of the record to apply next, and a fingerprint of the record before it. Kafka may
have lost its end since and appended other records at the same offsets; then the record before `next` is another one,
or the partition ends before `next`. Going on would skip what was appended, so the partition stops.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Place = tuple[int, bytes | None]
"""The offset of the next record, and the fingerprint of the one before it."""


@dataclass(frozen=True)
class Resume:
    """Read on at `seek`. `verify`: its first record is the one before `next`. `expired` records were never read."""

    seek: int
    verify: bool = False
    expired: int = 0


@dataclass(frozen=True)
class Lost:
    """Kafka lost acknowledged records; the text says what is known."""

    why: str


def resume(next_offset: int, fingerprint: bytes | None, *, begin: int, end: int) -> Resume | Lost:
    """Where to go on in a partition that has the offsets from `begin` up to, not including, `end`."""
    if next_offset > end:
        return Lost(f"it ends at {end}, but {next_offset} records were read: Kafka lost some")
    if next_offset < begin:
        return Resume(begin, expired=begin - next_offset if next_offset > 0 else 0)
    if fingerprint is not None and next_offset > begin:
        return Resume(next_offset - 1, verify=True)
    return Resume(next_offset)


class Look(StrEnum):
    """What the first record of a fetch says."""

    GOOD = "good"
    CHANGED = "changed"
    AGAIN = "again"
    """The client is not where it was sent: nothing is applied, and the partition is placed anew."""


def look(offset: int, fingerprint: bytes, *, next_offset: int, wanted: bytes | None) -> Look:
    """Judge the first record; `wanted` is the fingerprint of the record before `next_offset`, if that was asked."""
    if wanted is None:
        return Look.GOOD if offset >= next_offset else Look.AGAIN
    if offset != next_offset - 1:
        return Look.AGAIN
    return Look.GOOD if fingerprint == wanted else Look.CHANGED


def goes_on(*, held: Place, stored: Place) -> bool:
    """Whether a batch in memory may be tried again when PostgreSQL says `stored` and we were at `held`.

    Below it PostgreSQL forgot commits that we saw (a fail-over): the batch would leap over what has to be read again.
    Another record before it is another past, and has to be looked at first; so is a number above it, rare as it is
    that the transaction with the unknown end was committed.
    """
    return stored == held
