"""Lives of the database, and the numbers that must never be given twice over all of them.

The epoch is the WAL timeline of the database that answers, plus what an operator added after a restore that the
timeline does not show. It stands in the high bits of every fence and every incarnation: a database that was rolled
back gives its numbers again, but under a higher epoch. Each process reads it on every new connection, and after a new
epoch nobody claims until the workers of the lost future have killed what they ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

FENCE_SHIFT = 40
INCARNATION_SHIFT = 42
MAX_EPOCH = 2 ** (53 - INCARNATION_SHIFT) - 1
"""Incarnations travel as JSON numbers and must be exact as doubles."""
STRIDE = 32
"""So many fail-overs fit between two recoveries by hand."""


def fence_of(epoch: int, serial: int) -> int:
    """A fence is greater than every fence of earlier epochs, whatever serial they had reached."""
    return (epoch << FENCE_SHIFT) | serial


def epoch_of_fence(fence: int) -> int:
    return fence >> FENCE_SHIFT


def incarnation_of(epoch: int, born_ms: int) -> int:
    """Grows with every epoch and with every new life of an id."""
    return (epoch << INCARNATION_SHIFT) + born_ms


def epoch_of_incarnation(incarnation: int) -> int:
    return incarnation >> INCARNATION_SHIFT


class Sight(StrEnum):
    """What a new connection shows, compared with what this process knows."""

    FIRST = "first"
    SAME = "same"
    NEWER = "newer"
    STALE = "stale"


def look(known: int | None, found: int) -> Sight:
    """A lower epoch than one seen before is a server that was left behind: it must not be used."""
    if known is None:
        return Sight.FIRST
    if found == known:
        return Sight.SAME
    return Sight.NEWER if found > known else Sight.STALE


def hold_left(*, first_seen_ago: timedelta | None, ttl: timedelta) -> timedelta:
    """How long claims still wait in an epoch that somebody saw `first_seen_ago` for the first time.

    None means that there was none before it: nobody can run anything of a lost future. The wait is the TTL, as for
    a worker that is gone: the trust window, and the time that killing takes.
    """
    if first_seen_ago is None:
        return timedelta()
    return max(timedelta(), ttl - first_seen_ago)


def next_added(*, added: int, timeline: int, above: int) -> int:
    """What an operator's recovery adds from now on, so that the epoch is greater than `above` and than ever before.

    It goes to the next multiple of `STRIDE`: what is added is forgotten by a later restore to a copy from before it,
    and the timelines that follow there must not meet epochs that were used.

    Raises:
        ValueError: no number is left that stays exact in every reader.
    """
    wanted = (max(above, timeline + added) // STRIDE + 1) * STRIDE
    if wanted > MAX_EPOCH:
        raise ValueError(f"epoch {wanted} is beyond {MAX_EPOCH}, the last one that is exact everywhere")
    return wanted - timeline


@dataclass(frozen=True)
class Held:
    """Until when, on the monotonic clock of this process, nothing may be claimed; and the epoch it is about."""

    epoch: int
    until: float

    def open(self, at: float) -> bool:
        return at >= self.until
