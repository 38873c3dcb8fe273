"""A deadline on PostgreSQL that holds at every moment of a connection's life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from jobyard_common.db.deadline import within


class Frozen:
    """A pool whose one connection never answers: at work, or when it is given back."""

    def __init__(self, *, returned: bool) -> None:
        self._returned = returned
        self.terminated = asyncio.Event()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self
        await self.terminated.wait()

    def terminate(self) -> None:
        if self._returned:
            raise asyncpg.InterfaceError("connection has been released back to the pool")
        self.terminated.set()


@pytest.mark.parametrize("returned", [False, True])
def test_whoever_waits_is_told_in_time(returned: bool) -> None:
    async def story() -> None:
        pool = Frozen(returned=returned)

        async def work(_connection: Any) -> None:
            if not returned:
                await pool.terminated.wait()

        with pytest.raises(TimeoutError, match=r"did not answer within 0\.05 s"):
            await within(pool, work, timeout_s=0.05)

    asyncio.run(asyncio.wait_for(story(), 10))


class Slow:
    """A pool whose one connection answers when it is let."""

    def __init__(self) -> None:
        self.answer, self.asked = asyncio.Event(), asyncio.Event()
        self.given_back = asyncio.Event()
        self.terminated = False

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self
        self.given_back.set()

    def terminate(self) -> None:
        self.terminated = True
        self.answer.set()

    async def work(self, _connection: Any) -> None:
        self.asked.set()
        await self.answer.wait()


async def _left(pool: Slow, *, timeout_s: float) -> None:
    caller = asyncio.create_task(within(pool, pool.work, timeout_s=timeout_s))  # type: ignore[arg-type]
    await pool.asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


def test_a_caller_that_goes_away_costs_no_connection() -> None:
    async def story() -> None:
        pool = Slow()
        await _left(pool, timeout_s=60)
        pool.answer.set()
        await pool.given_back.wait()
        assert not pool.terminated

    asyncio.run(asyncio.wait_for(story(), 10))


def test_but_its_deadline_still_holds() -> None:
    async def story() -> None:
        pool = Slow()
        await _left(pool, timeout_s=0.05)
        await pool.given_back.wait()
        assert pool.terminated

    asyncio.run(asyncio.wait_for(story(), 10))
