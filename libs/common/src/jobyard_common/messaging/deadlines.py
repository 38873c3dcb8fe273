"""One timer for many waits: futures that fail when their time is up, looked at ten times a second.

A timeout of its own for each of thousands of waits a second costs more than the waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from typing import Any

LOOK_EVERY_S = 0.1


class Deadlines:
    """Waits with one patience; a wait lasts at most `patience_s` and a tenth of a second."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._live = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._live

    async def of(self, future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> Any:
        """The result of `future`, which nobody else waits for and which goes on when the wait ends.

        Raises:
            TimeoutError: it took too long.
        """
        waiter = self.waiter(loop)

        def done(ended: asyncio.Future[Any]) -> None:
            if waiter.done():
                ended.cancelled() or ended.exception()
            elif ended.cancelled():
                waiter.set_exception(ConnectionAbortedError("whoever should have answered gave up"))
            elif (error := ended.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(ended.result())

        future.add_done_callback(done)
        self._live += 1
        try:
            return await waiter
        finally:
            self._live -= 1

    def waiter(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
        """A future for an answer, which fails with TimeoutError if it has none when the time is up."""
        waiter: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((loop.time() + self._patience_s, waiter))
        if self._timer is None:
            self._timer = loop.call_later(LOOK_EVERY_S, self._look, loop)
        return waiter

    def give_up(self, error: Exception) -> None:
        """Fail all waits that have no answer yet."""
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(copy(error))

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now, waiting = loop.time(), self._waiting
        while waiting and (waiting[0][1].done() or waiting[0][0] <= now):
            waiter = waiting.popleft()[1]
            if not waiter.done():
                waiter.set_exception(TimeoutError("no acknowledgement in time"))
        self._timer = loop.call_later(LOOK_EVERY_S, self._look, loop) if waiting else None
