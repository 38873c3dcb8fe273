"""`test.sleep`: a job that waits, reports progress, and reacts to a stop as it is told."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobyard.author import Context, Stop
from jobyard.author.errors import stop_for

from jobyard_executor.tools.test.arguments import carrying
from jobyard_executor.tools.test.declare import test_tool
from jobyard_executor.tools.test.models import Sleep, SleepInProcess

Value = dict[str, float | bool]
LOOK_EVERY_S = 0.1


@test_tool("test.sleep")
async def sleep(ctx: Context, params: Sleep) -> Value:
    """Sleep, with progress in steps if you like."""
    began = time.monotonic()
    for moment, step in _moments(params):
        while (left := began + moment - time.monotonic()) > 0:
            try:
                await asyncio.sleep(left)
            except Stop:
                if params.on_soft_limit == "raise":
                    raise
                if params.on_soft_limit == "finish":
                    return {"interrupted": True}
        _report(ctx, step, params.steps)
    return {"slept": params.seconds}


@test_tool("test.sleep.process")
def sleep_process(ctx: Context, params: SleepInProcess) -> Value:
    """Sleep in a child process that carries `marker` in its arguments."""
    with carrying(params.marker), _deaf(params.ignore_sigterm):
        return _sleep(ctx, params)


def _sleep(ctx: Context, params: Sleep) -> Value:
    began = time.monotonic()
    heard: set[str | None] = set()
    for moment, step in _moments(params):
        while (left := began + moment - time.monotonic()) > 0:
            try:
                time.sleep(min(left, LOOK_EVERY_S))
                stop = None if ctx.stop_reason in heard else stop_for(ctx.stop_reason)
                if stop is not None:
                    raise stop
            except Stop as stop:
                heard.add(stop.reason)
                if params.on_soft_limit == "raise":
                    raise
                if params.on_soft_limit == "finish":
                    return {"interrupted": True}
        _report(ctx, step, params.steps)
    return {"slept": params.seconds}


def _moments(params: Sleep) -> Iterator[tuple[float, int]]:
    """Seconds after the start, and the step that is then done (0 without steps)."""
    if params.steps == 0:
        yield params.seconds, 0
    for step in range(1, params.steps + 1):
        yield params.seconds * step / params.steps, step


def _report(ctx: Context, step: int, steps: int) -> None:
    if step:
        ctx.progress(step, steps, f"step {step}")


@contextmanager
def _deaf(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


TOOLS = (sleep, sleep_process)
