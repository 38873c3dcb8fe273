"""A database that does not keep up is asked by one at a time, and soon by all again."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from jobyard_common.db.breaker import FIRST_S, LONGEST_S, Breaker, LeftInPeace, overwhelmed


class Server:
    """Answers, fails or keeps everybody waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.error: BaseException | None = None
        self.asked = 0
        self.gate: asyncio.Event | None = None
        self.breaker = Breaker(monotonic=lambda: self.now)

    async def question(self) -> str:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return "answer"

    async def ask(self) -> str:
        try:
            return await self.breaker.ask(self.question)
        except Exception as error:
            return type(error).__name__


def test_after_a_timeout_nobody_asks_for_a_moment_and_then_everybody() -> None:
    async def story() -> None:
        server = Server()
        server.error = TimeoutError()
        assert await server.ask() == "TimeoutError"
        assert [await server.ask() for _ in range(100)] == ["LeftInPeace"] * 100
        assert server.asked == 1
        server.now, server.error = FIRST_S, None
        assert [await server.ask() for _ in range(3)] == ["answer"] * 3

    asyncio.run(story())


def test_one_tries_alone() -> None:
    async def story() -> None:
        server = Server()
        server.error = TimeoutError()
        await server.ask()
        server.now, server.error, server.gate = FIRST_S, None, asyncio.Event()
        first = asyncio.create_task(server.ask())
        await asyncio.sleep(0)
        assert await server.ask() == "LeftInPeace"
        server.gate.set()
        assert await first == "answer"
        assert await server.ask() == "answer"
        assert server.asked == 3

    asyncio.run(story())


def test_the_moment_doubles_and_is_bounded() -> None:
    async def story() -> None:
        server = Server()
        server.error = TimeoutError()
        moments = []
        for _ in range(8):
            begun = server.now
            await server.ask()
            while await server.ask() == "LeftInPeace":
                server.now += FIRST_S
                if server.now - begun > 60:
                    raise AssertionError("it is never asked again")
            moments.append(server.now - begun)
        assert moments[0] >= FIRST_S and max(moments) <= 2 * LONGEST_S + FIRST_S
        assert server.asked <= 16

    asyncio.run(story())


def test_a_hundred_that_time_out_at_once_count_as_one() -> None:
    async def story() -> None:
        server = Server()
        server.error, server.gate = TimeoutError(), asyncio.Event()
        waiting = [asyncio.create_task(server.ask()) for _ in range(100)]
        await asyncio.sleep(0)
        server.gate.set()
        await asyncio.gather(*waiting)
        server.gate, server.error, server.now = None, None, FIRST_S
        assert await server.ask() == "answer"

    asyncio.run(story())


def test_a_cancelled_try_is_not_waited_for() -> None:
    async def story() -> None:
        server = Server()
        server.error = TimeoutError()
        await server.ask()
        server.now, server.gate = FIRST_S, asyncio.Event()
        trying = asyncio.create_task(server.breaker.ask(server.question))
        await asyncio.sleep(0)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        server.gate, server.error = None, None
        assert await server.ask() == "answer"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "want"),
    [
        (TimeoutError(), True),
        (LeftInPeace(), True),
        (asyncpg.TooManyConnectionsError(), True),
        (asyncpg.CannotConnectNowError(), True),
        (ConnectionRefusedError(), False),
        (asyncpg.UniqueViolationError(), False),
        (asyncpg.InterfaceError("x"), False),
    ],
)
def test_only_overload_counts(error: Any, want: bool) -> None:
    assert overwhelmed(error) is want
