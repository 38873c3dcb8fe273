"""A deadline that holds when PostgreSQL neither answers nor dies.

asyncpg ends a statement that ran out of time by asking the server to cancel it, and waits for that; a frozen server
answers neither. Here the socket is given up instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

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

    task = asyncio.ensure_future(run())
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        _give_up(task, held)
        raise
    if not done:
        _give_up(task, held)
        raise TimeoutError(f"PostgreSQL did not answer within {timeout_s:g} s")
    return task.result()


def _give_up(task: asyncio.Task[T], held: list[Connection]) -> None:
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    if held:
        held[0].terminate()
    else:
        task.cancel()
