"""A spool that does not keep up is left in peace: what can't be kept is refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from jobyard_common.messaging.publisher import OutRecord, PublishFailed
from jobyard_common.telemetry.tracing import Tracer
from jobyard_gateway.outbound import commands
from jobyard_gateway.outbound.commands import Commands, Kept, NotKept

RECORD = OutRecord("jobs.commands", "job_1", b"{}", [])


class Away:
    """Plays the publisher, whose broker is away, and the pool, whose server does not answer until it is thawed."""

    def __init__(self) -> None:
        self.connections = 0
        self.thawed = asyncio.Event()

    async def send(self, record: OutRecord, *, timeout_s: float) -> None:
        raise PublishFailed("no acknowledgement in time")

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Away]:
        self.connections += 1
        yield self

    async def execute(self, *_: object) -> None:
        await self.thawed.wait()

    def terminate(self) -> None:
        """The socket is given up."""


def test_a_frozen_spool_is_asked_by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "SPOOL_DEADLINE_S", 0.02)

    async def story() -> None:
        away, now = Away(), [0.0]
        kept = Commands(
            cast(Any, away),
            cast(Any, away),
            tracer=Tracer("gateway"),
            monotonic=lambda: now[0],
            wake_relay=lambda: None,
        )
        for _ in range(200):
            with pytest.raises(NotKept):
                await kept.keep(RECORD)
        assert away.connections == 1
        away.thawed.set()
        now[0] = 10.0
        assert [await kept.keep(RECORD) for _ in range(3)] == [Kept.SPOOLED] * 3

    asyncio.run(story())
