"""What the three servers have in common for whoever starts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from jobyard_local.errors import ServerFailed
from jobyard_local.process import Process, Program, log_tail


class Server(Protocol):
    """One server with its data below a folder; `program` may be called again to start it anew on the same address."""

    name: str

    async def prepare(self) -> None:
        """Everything that is done once per data folder; repeatable."""

    def program(self) -> Program: ...

    async def answers(self) -> bool:
        """Whether it serves, and is really ours."""

    def stopped(self, *, clean: bool) -> None:
        """Told after it ended."""


async def until_ready(process: Process, answers: Callable[[], Awaitable[bool]], *, timeout_s: float) -> float:
    """Wait until it answers; returns the seconds; raises `ServerFailed` with the end of its log."""
    began = time.monotonic()
    name, log = process.program.name, process.program.log
    while time.monotonic() - began < timeout_s:
        if process.returncode is not None:
            raise ServerFailed(f"{name} ended with {process.returncode}; its log {log} ends:\n{log_tail(log)}")
        if await answers():
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise ServerFailed(f"{name} was not ready within {timeout_s:g} s; its log {log} ends:\n{log_tail(log)}")
