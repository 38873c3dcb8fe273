"""Waiting for what may neither answer nor let itself be cancelled."""

from __future__ import annotations

import asyncio

import pytest
from jobyard_common.messaging.bounded import bounded, first_of


async def deaf(until: asyncio.Event) -> None:
    """Swallows its cancellation, as a client whose broker is away may do."""
    while not until.is_set():
        try:
            await until.wait()
        except asyncio.CancelledError:
            continue


def test_results_and_errors_pass() -> None:
    async def fine() -> int:
        return 7

    async def broken() -> int:
        raise ValueError("broken")

    assert asyncio.run(bounded(fine(), limit_s=5)) == 7
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(bounded(broken(), limit_s=5))


def test_what_ignores_its_cancellation_holds_nobody() -> None:
    async def story() -> None:
        until = asyncio.Event()
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            await bounded(deaf(until), limit_s=0.01)
        until.set()

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_client_that_cancels_itself_is_a_broken_connection_not_an_end_without_a_word() -> None:
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionAbortedError):
        asyncio.run(bounded(cancels_itself(), limit_s=5))
    with pytest.raises(ConnectionAbortedError):
        asyncio.run(first_of(cancels_itself(), asyncio.sleep(60)))


def test_our_own_cancellation_stays_one_and_reaches_the_work() -> None:
    async def story() -> bool:
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        waiting = asyncio.ensure_future(bounded(work(), limit_s=60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(ended.wait(), 5)
        return True

    assert asyncio.run(story())


def test_a_late_error_of_abandoned_work_is_nobodys() -> None:
    """Warnings are errors here: an exception that nobody retrieved would fail this test."""

    async def story() -> None:
        go = asyncio.Event()

        async def late() -> None:
            await deaf(go)
            raise ValueError("too late")

        with pytest.raises(TimeoutError):
            await bounded(late(), limit_s=0.01)
        go.set()
        await asyncio.sleep(0.01)

    asyncio.run(story())


def test_the_first_end_decides_and_cancels_the_others() -> None:
    async def story() -> list[str]:
        told: list[str] = []

        async def loops() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("cancelled")
                raise

        async def fails() -> None:
            await asyncio.sleep(0)
            raise OSError("the connection died")

        with pytest.raises(OSError, match="the connection died"):
            await first_of(loops(), fails())
        return told

    assert asyncio.run(story()) == ["cancelled"]


def test_others_that_do_not_end_are_waited_for_only_so_long() -> None:
    async def story() -> None:
        until = asyncio.Event()
        await first_of(asyncio.sleep(0), deaf(until), grace_s=0.01)
        until.set()

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_cancelled_caller_cancels_all() -> None:
    async def story() -> int:
        ended = 0

        async def work() -> None:
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                ended += 1

        waiting = asyncio.ensure_future(first_of(work(), work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return ended

    assert asyncio.run(story()) == 2
