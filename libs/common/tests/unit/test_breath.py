"""Others have their turn between the parts of a batch."""

from __future__ import annotations

import asyncio

import pytest
from jobyard_common.runtime.breath import in_breaths


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 35])
def test_all_rows_come_in_order_and_others_have_a_turn_between(count: int) -> None:
    async def story() -> None:
        turns, seen, parts = 0, [], 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(other())
        await asyncio.sleep(0)
        before = turns
        async for some in in_breaths(range(count), size=10):
            parts += 1
            seen += some
        between = turns - before
        beside.cancel()
        assert seen == list(range(count))
        assert between >= max(0, parts - 1)

    asyncio.run(story())
