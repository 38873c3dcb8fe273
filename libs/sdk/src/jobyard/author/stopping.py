"""How an `async` tool hears a stop: a cancellation of its task, translated at the border of the tool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from jobyard.author.context import Context
from jobyard.author.errors import stop_for


class Stoppable:
    """Awaits a tool's coroutine; a cancellation of the awaiting task reaches the tool as the `Stop` of its reason.

    Each reason is told once. A second cancellation for the same reason, or one without a reason that tools hear, is
    a plain `asyncio.CancelledError`: the hard limit.
    """

    def __init__(self, tool: Coroutine[Any, Any, Any], ctx: Context) -> None:
        self._tool = tool
        self._ctx = ctx
        self._told: set[str] = set()

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waiting = self._tool.send(None)
            while True:
                try:
                    answer = yield waiting
                except asyncio.CancelledError as cancellation:
                    waiting = self._tool.throw(self._translated(cancellation))
                except GeneratorExit:
                    self._tool.close()
                    raise
                except BaseException as error:
                    waiting = self._tool.throw(error)
                else:
                    waiting = self._tool.send(answer)
        except StopIteration as done:
            return done.value

    def _translated(self, cancellation: asyncio.CancelledError) -> BaseException:
        reason = self._ctx.stop_reason
        stop = stop_for(reason)
        if stop is None or reason is None or reason in self._told:
            return cancellation
        self._told.add(reason)
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return stop
