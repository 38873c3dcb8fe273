"""Valkey as the gateway uses it: a burst is no outage, and an outage is noticed once."""

from __future__ import annotations

import asyncio
import time

import pytest
from jobyard_gateway.outbound.shelf import ASKS, CONNECTIONS, Shelf, Unknown

NOBODY = "redis://127.0.0.1:1"


def shelf(*, deadline_s: float) -> Shelf:
    return Shelf(NOBODY, prefix="p:", monotonic=time.monotonic, deadline_s=deadline_s)


def test_a_burst_of_reads_waits_its_turn_and_all_are_answered() -> None:
    inside = most = 0

    async def read(_client: object) -> bytes:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1
        return b"x"

    async def story() -> None:
        found = shelf(deadline_s=60.0)
        assert await asyncio.gather(*(found._ask(read) for _ in range(CONNECTIONS * 10))) == [b"x"] * CONNECTIONS * 10
        assert most == ASKS < CONNECTIONS
        assert found.check().status == "ok"
        await found.stop()

    asyncio.run(story())


def test_who_gets_no_turn_in_time_does_not_know_and_closes_nothing() -> None:
    async def story() -> None:
        found = shelf(deadline_s=0.02)
        while not found._turns.locked():
            await found._turns.acquire()
        with pytest.raises(Unknown):
            await found.get("here")
        assert found.check().status == "ok"
        await found.stop()

    asyncio.run(story())


def test_a_dead_valkey_is_not_asked_again_for_a_moment() -> None:
    async def story() -> None:
        found = shelf(deadline_s=60.0)
        for _ in range(2):
            with pytest.raises(Unknown):
                await found.get("x")
        assert found.check().status == "degraded"
        await found.stop()

    asyncio.run(story())
