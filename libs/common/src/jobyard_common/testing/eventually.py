"""Waiting for what must become true, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T | None]], *, what: str, timeout_s: float = 10.0, every_s: float = 0.03
) -> T:
    """Poll `probe` until it answers something other than None or False; past the deadline, fail with `what`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await probe()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        await asyncio.sleep(every_s)
