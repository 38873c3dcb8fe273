"""Tools that take many jobs at once: each job waits a moment for others like it, then one call serves them all.

Every job stays a job of its own: its own attempt, fence, limits, result and failure. It only shares the call.

    wait for others ─► (`size` jobs, or `interval_s` after the first) ─► one call of the function ─► an answer each

A job that is cancelled or reaches a limit while it waits leaves the group; once the call runs, its answer is ignored,
and the call itself is cancelled when nobody waits for an answer any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from jobyard.author.context import Context
from jobyard.author.errors import ToolError

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class Item(Generic[P]):
    """One of the jobs of a call: its own context and its own parameters."""

    ctx: Context
    params: P


Handler = Callable[[Sequence[Item[Any]]], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, kw_only=True)
class BatchRules:
    """At most `size` jobs a call, at most `interval_s` after the first; only jobs with the same `key` share a call."""

    size: int = 100
    interval_s: float = 0.05
    key: Callable[[Any], object] | None = None


class AnswersMissing(ToolError):
    """The function did not return one answer for each of its jobs."""

    def __init__(self, got: object, *, wanted: int) -> None:
        count = len(got) if isinstance(got, list | tuple) else type(got).__name__
        super().__init__(
            f"A batch of {wanted} jobs needs a list of {wanted} answers; the tool returned {count}.",
            code="batch_answers",
            retryable=False,
        )


class _Group:
    """Jobs that will share one call."""

    def __init__(self) -> None:
        self.waiting: dict[Item[Any], asyncio.Future[Any]] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.call: asyncio.Task[None] | None = None


class Batcher:
    """Gathers the jobs of one tool on each event loop, and calls its function."""

    def __init__(self, handler: Handler, rules: BatchRules) -> None:
        self._handler = handler
        self._rules = rules
        self._open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, _Group]] = WeakKeyDictionary()

    async def join(self, ctx: Context, params: Any) -> Any:
        """The answer for this job. Raises what the function raised or returned for it."""
        loop = asyncio.get_running_loop()
        groups = self._open.setdefault(loop, {})
        key = self._rules.key(params) if self._rules.key is not None else None
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group()
            group.timer = loop.call_later(self._rules.interval_s, self._begin, groups, key, group)
        item, answer = Item(ctx, params), loop.create_future()
        group.waiting[item] = answer
        if len(group.waiting) >= self._rules.size:
            self._begin(groups, key, group)
        try:
            return await answer
        finally:
            group.waiting.pop(item, None)
            self._leave(groups, key, group)

    def _begin(self, groups: dict[object, _Group], key: object, group: _Group) -> None:
        if groups.get(key) is group:
            del groups[key]
        if group.timer is not None:
            group.timer.cancel()
        if group.waiting and group.call is None:
            group.call = asyncio.get_running_loop().create_task(self._call(group))

    def _leave(self, groups: dict[object, _Group], key: object, group: _Group) -> None:
        """The last one out ends a call that nobody waits for, and a group that never got to one."""
        if group.waiting:
            return
        if group.call is not None:
            group.call.cancel()
        elif groups.get(key) is group:
            del groups[key]
            if group.timer is not None:
                group.timer.cancel()

    async def _call(self, group: _Group) -> None:
        items = list(group.waiting)
        try:
            answers = await self._handler(items)
            if not isinstance(answers, list | tuple) or len(answers) != len(items):
                raise AnswersMissing(answers, wanted=len(items))
        except asyncio.CancelledError:
            self._answer(group, items, [ToolError("the call for these jobs was cancelled")] * len(items))
            raise
        except BaseException as error:
            self._answer(group, items, [error] * len(items))
            return
        self._answer(group, items, answers)

    def _answer(self, group: _Group, items: Sequence[Item[Any]], answers: Sequence[Any]) -> None:
        for item, answer in zip(items, answers, strict=True):
            future = group.waiting.get(item)
            if future is None or future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
