"""Long work on one loop, with room for others in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")
BREATH = 64


async def in_breaths(rows: Sequence[T], *, size: int = BREATH) -> AsyncIterator[Sequence[T]]:
    """The rows in parts of `size`; between two of them whatever else is ready on the loop has its turn.

    A batch of 500 that is worked through in one go keeps everybody else waiting for as long as it takes: the answer to
    a read, the claim of another tenant's job, a heartbeat.
    """
    for at in range(0, len(rows), size):
        if at:
            await asyncio.sleep(0)
        yield rows[at : at + size]
