"""`batch_tool`: a tool whose function takes a list of jobs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pydantic

from jobyard.author.batching import Batcher, BatchRules
from jobyard.author.context import Context
from jobyard.author.errors import ToolDefinitionError
from jobyard.author.registry import ToolFunction, tool

MOST = 1000
LONGEST_WAIT_S = 60.0


def batch_tool(
    name: str,
    *,
    params: type[pydantic.BaseModel],
    size: int = 100,
    interval_s: float = 0.05,
    key: Callable[[Any], object] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], ToolFunction]:
    """Make an async function that takes a sequence of `Item` a tool; `options` are those of `tool`.

    A call gets up to `size` jobs, at most `interval_s` seconds after the first of them, all with the same `key(params)`
    where a key is given. It returns one answer a job, in their order: a result, or an exception that fails this job
    alone. What it raises fails all of them. Only jobs that run in the same worker process share a call.
    Raises ToolDefinitionError.
    """

    def declare(function: Callable[..., Any]) -> ToolFunction:
        complaint = _complaint(function, size=size, interval_s=interval_s)
        if complaint:
            raise ToolDefinitionError(f"Tool {name!r}: {complaint}.")
        rules = BatchRules(size=size, interval_s=interval_s, key=key)
        batcher = Batcher(function, rules)

        async def one(ctx: Context, parameters: pydantic.BaseModel) -> Any:
            return await batcher.join(ctx, parameters)

        one.__doc__ = function.__doc__
        one.__annotations__["parameters"] = params
        return dataclasses.replace(tool(name, **options)(one), batch=rules)

    return declare


def _complaint(function: Callable[..., Any], *, size: int, interval_s: float) -> str | None:
    if not inspect.iscoroutinefunction(function):
        return "a batch tool needs an async function"
    if len(inspect.signature(function).parameters) != 1:
        return "the function of a batch tool takes the sequence of its items, and nothing else"
    if not 1 <= size <= MOST:
        return f"size must be from 1 to {MOST}"
    if not 0 <= interval_s <= LONGEST_WAIT_S:
        return f"interval_s must be from 0 to {LONGEST_WAIT_S:.0f}"
    return None
