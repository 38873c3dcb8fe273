"""Waiting for a client library that may neither answer nor let itself be cancelled, or that cancels its caller.

`asyncio.wait_for` waits for the cancellation to be taken, which aiokafka at times swallows while its broker is away.
And a fetch whose connection dies can raise CancelledError although nobody cancelled anything: a loop that let it pass
would end without a word. Here it becomes an ordinary error of the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def bounded(work: Coroutine[Any, Any, T], *, limit_s: float) -> T:
    """The result of `work`; past `limit_s` it is cancelled and left to itself.

    Raises:
        TimeoutError: there was no result in time.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return _result(task)


async def first_of(*works: Coroutine[Any, Any, None], grace_s: float = 5.0) -> None:
    """Run all until one ends; cancel the others, wait `grace_s` for them, and raise what the first one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            _abandon(task)
        await asyncio.wait(tasks, timeout=grace_s)
    for task in done:
        _result(task)


def _result(task: asyncio.Task[T]) -> T:
    if task.cancelled():
        raise ConnectionAbortedError("the Kafka client gave up what it was doing")
    return task.result()


def _abandon(task: asyncio.Task[Any]) -> None:
    task.cancel()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
