"""Leaving a PostgreSQL in peace that does not keep up.

A statement that ran out of time cost a connection, and the server ends what was behind it only when it gets to it.
Whoever opens the next connection at once adds to the load that was the reason: after an outage that can go on until
the server has no connection left. So after the first such failure nobody asks for a moment, then one alone, and the
moment doubles while that one fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

T = TypeVar("T")
FIRST_S, LONGEST_S = 0.25, 2.0


class LeftInPeace(TimeoutError):
    """PostgreSQL was not asked, because it did not keep up a moment ago."""


def overwhelmed(error: BaseException) -> bool:
    """Whether the failure says that the server has too much to do; one that is plainly away costs nothing to ask."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith("53") or isinstance(error, asyncpg.CannotConnectNowError)
    return isinstance(error, TimeoutError)


class Breaker:
    """One for each kind of question that has a deadline."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._pause_s = 0.0
        self._closed_until = 0.0
        self._trying = False

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """What `question` answers.

        Raises:
            LeftInPeace: it was not asked.
        """
        alone = self._pause_s > 0
        if alone and (self._trying or self._monotonic() < self._closed_until):
            raise LeftInPeace("PostgreSQL does not keep up; it is asked again in a moment")
        self._trying = self._trying or alone
        try:
            answer = await question()
        except Exception as error:
            if overwhelmed(error):
                self._pause(alone=alone)
            elif alone:
                self._pause_s = 0.0
            raise
        else:
            self._pause_s = 0.0
            return answer
        finally:
            if alone:
                self._trying = False

    def _pause(self, *, alone: bool) -> None:
        """Those that had asked before the first failure do not make the moment longer."""
        if alone or self._pause_s == 0.0:
            self._pause_s = min(LONGEST_S, max(FIRST_S, self._pause_s * 2))
            self._closed_until = self._monotonic() + self._pause_s
