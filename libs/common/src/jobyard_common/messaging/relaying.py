"""What the relay of an outbox does next: pure rules.

There is no cursor: a number is given before its transaction commits, so a row may appear below what was published
long ago. Instead the relay accounts for every number up to the highest it has seen, and a round begins at the least
one that it cannot account for. Order per key follows: transactions that change one aggregate exclude each other, so
whoever sees a row could have seen every earlier row of its key, and the round began low enough to do so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobyard_common.messaging.publisher import PublishFailed, Sent

MOST_MISSING = 10_000
"""Beyond, numbers that did not appear are no longer accounted for one by one."""


class Horizon(NamedTuple):
    """Transactions at one moment: those below `oldest` have ended, none at or above `next` had begun."""

    oldest: int
    next: int


class Numbers:
    """What a relay knows of the numbers of an outbox, as long as one connection holds the locks of all shards.

    A number up to `top` is settled (published, or never to come), kept (in memory, waiting), or missing: given to a
    transaction of this or another process that has not committed, or was rolled back. Missing ones are settled when
    each transaction that could own them had ended and a round has looked again.
    """

    def __init__(self) -> None:
        self.top = 0
        self._settled = 0
        self._unsure = 0
        """Numbers behind `_settled` and up to this are not accounted for one by one."""
        self._missing: set[int] = set()
        self._asked: tuple[int, int] | None = None
        self._ended = 0
        """The transactions of all numbers up to this have ended."""

    def note(self, numbers: Sequence[int]) -> None:
        """These, ascending, were kept or found; what lies between is missing."""
        first, last = numbers[0], numbers[-1]
        if self._missing:
            self._missing.difference_update(numbers)
        if last <= self.top:
            return
        if first != self.top + 1 or last - self.top != len(numbers):
            if last - self.top - len(numbers) + len(self._missing) > MOST_MISSING:
                self._missing.clear()
                self._unsure = last
            else:
                self._missing.update(range(self.top + 1, last))
                self._missing.difference_update(numbers)
        self.top = last

    def doubt(self) -> None:
        """Something that was found or kept is neither published nor in memory: account for nothing."""
        self._settled, self._unsure = 0, self.top
        self._missing.clear()

    def begins(self, kept: Collection[int]) -> int:
        """The least number that is not settled: a round from here sees as much as one from the beginning."""
        if self._unsure > self._settled:
            return self._settled + 1
        behind = self.top + 1
        return min(min(self._missing, default=behind), min(kept, default=behind))

    def is_open(self, kept: Collection[int]) -> bool:
        """Whether a look at the transactions could settle something."""
        return bool(kept or self._missing or self._unsure > self._settled)

    def look(self, horizon: Horizon, *, top: int) -> None:
        """The transactions of a moment when `top` was the highest number seen. Whoever was given a number up to it had
        begun by then; once the oldest one is younger, they all have ended."""
        if self._asked is not None and horizon.oldest >= self._asked[1]:
            self._ended, self._asked = max(self._ended, self._asked[0]), None
        if self._asked is None:
            self._asked = (top, horizon.next)

    def looked(self, found: Sequence[int], kept: Collection[int], *, whole: bool) -> list[int]:
        """A round that began at `begins`, or before, found these; `whole`: and there was nothing behind them.

        Returns kept numbers that will never come: their transactions were rolled back.
        """
        if found:
            self.note(found)
        bound = self._ended if whole or not found else min(self._ended, found[-1])
        gone = []
        if kept and min(kept) <= bound:
            there = set(found)
            gone = [number for number in kept if number <= bound and number not in there]
        if bound > self._settled:
            self._settled = bound
            if self._missing:
                self._missing = {number for number in self._missing if number > bound}
        return gone


def keeps(owned: int, *, shards: int) -> bool:
    """Only who owns all shards sees all numbers, and can account for them."""
    return owned == shards


@dataclass(frozen=True)
class Answered:
    """`done` are acknowledged, `refused` never will be, with why; `failed` are sent again, in order."""

    done: list[int]
    refused: list[tuple[int, str]]
    failed: list[PublishFailed]


def sort_answers(numbers: Sequence[int], answers: Sequence[Sent | PublishFailed]) -> Answered:
    """A row is deleted for an acknowledgement alone."""
    found = Answered([], [], [])
    for number, answer in zip(numbers, answers, strict=True):
        if isinstance(answer, Sent):
            found.done.append(number)
        elif answer.permanent:
            found.refused.append((number, str(answer)))
        else:
            found.failed.append(answer)
    return found
