"""One timer for many waits."""

from __future__ import annotations

import asyncio

import pytest
from jobyard_common.messaging.deadlines import Deadlines


def test_results_errors_and_late_answers() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        waits = Deadlines(0.2)
        good, bad, late, lost = (loop.create_future() for _ in range(4))
        tasks = [asyncio.create_task(waits.of(future, loop)) for future in (good, bad, late, lost)]
        await asyncio.sleep(0)
        assert len(waits) == 4
        good.set_result(7)
        bad.set_exception(OSError("refused"))
        lost.cancel()
        assert await tasks[0] == 7
        with pytest.raises(OSError, match="refused"):
            await tasks[1]
        with pytest.raises(ConnectionAbortedError):
            await tasks[3]
        with pytest.raises(TimeoutError):
            await tasks[2]
        assert not late.done(), "what was waited for goes on"
        late.set_exception(OSError("nobody waits for this any more"))
        await asyncio.sleep(0)
        assert len(waits) == 0

    asyncio.run(story())


def test_who_gives_up_leaves_the_rest_alone() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        waits = Deadlines(5.0)
        future = loop.create_future()
        task = asyncio.create_task(waits.of(future, loop))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not future.cancelled() and len(waits) == 0
        future.set_result(1)
        await asyncio.sleep(0)

    asyncio.run(story())
