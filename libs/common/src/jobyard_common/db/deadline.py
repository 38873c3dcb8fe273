"""A deadline that holds when PostgreSQL neither answers nor dies.

asyncpg ends a statement that ran out of time by asking the server to cancel it, and waits for that; a frozen server
answers neither. Here the socket is given up instead, but only then: each one costs the server a process that it ends
when it gets to it, so a caller that goes away leaves the statement its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from jobyard_common.db.connection import Connection, Pool

T = TypeVar("T")


async def within(pool: Pool, work: Callable[[Connection], Awaitable[T]], *, timeout_s: float) -> T:
    """Do `work` on a connection of the pool, waiting for the connection included.

    Raises:
        TimeoutError: it took longer than `timeout_s`; whether its effects were committed is unknown.
    """
    held: list[Connection] = []

    async def run() -> T:
        async with pool.acquire() as connection:
            held.append(connection)
            return await work(connection)

    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    task = asyncio.ensure_future(run())
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        if not held:
            task.cancel()
        timer = loop.call_at(deadline, _give_up, task, held)
        task.add_done_callback(lambda _: timer.cancel())
        task.add_done_callback(_forget)
        raise
    if not done:
        _give_up(task, held)
        raise TimeoutError(f"PostgreSQL did not answer within {timeout_s:g} s")
    return task.result()


def _give_up(task: asyncio.Task[T], held: list[Connection]) -> None:
    task.add_done_callback(_forget)
    if held:
        try:
            held[0].terminate()
        except asyncpg.InterfaceError:
            # It is on its way back to the pool, which may be asking the server to forget what was done on it.
            task.cancel()
    else:
        task.cancel()


def _forget(late: asyncio.Task[T]) -> None:
    """Nobody asks for it any more."""
    if not late.cancelled():
        late.exception()
