"""`test.print` and `test.log`: output in all shapes."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TextIO

from jobyard.author import Context

from jobyard_executor.tools.test.declare import test_tool
from jobyard_executor.tools.test.models import Log, Print
from jobyard_executor.tools.test.scripts.print.run import content, stream_of

BREATHE_EVERY = 100
LEVELS = ("debug", "info", "warning", "error")


@test_tool("test.print")
async def print_(ctx: Context, params: Print) -> dict[str, int]:
    """Print lines to stdout and stderr."""
    for number in range(1, params.lines + 1):
        _write(number, params)
        if params.interval_s:
            await asyncio.sleep(params.interval_s)
        elif number % BREATHE_EVERY == 0:
            await asyncio.sleep(0)
    return {"lines": params.lines}


@test_tool("test.print.process")
def print_process(ctx: Context, params: Print) -> dict[str, int]:
    """Print lines to stdout and stderr of a child process."""
    for number in range(1, params.lines + 1):
        _write(number, params)
        if params.interval_s:
            time.sleep(params.interval_s)
    return {"lines": params.lines}


def _write(number: int, params: Print) -> None:
    line = content(number, width=params.width, rubbish=params.rubbish)
    end = b"\n" if params.newline else b""
    target: TextIO = sys.stdout if stream_of(number, params.stream) == 1 else sys.stderr
    raw = getattr(target, "buffer", None)
    if raw is not None:
        raw.write(line + end)
        raw.flush()
    else:
        print(line.decode(errors="surrogateescape"), end=end.decode(), file=target, flush=True)


@test_tool("test.log")
async def log(ctx: Context, params: Log) -> dict[str, int]:
    """Log entries of every level."""
    for number in range(1, params.lines + 1):
        _entry(ctx, number)
        if number % BREATHE_EVERY == 0:
            await asyncio.sleep(0)
    return {"lines": params.lines}


@test_tool("test.log.process")
def log_process(ctx: Context, params: Log) -> dict[str, int]:
    """Log entries of every level from a child process."""
    for number in range(1, params.lines + 1):
        _entry(ctx, number)
    return {"lines": params.lines}


def _entry(ctx: Context, number: int) -> None:
    ctx.log(f"entry {number}", level=LEVELS[(number - 1) % 4], n=number)  # type: ignore[arg-type]


TOOLS = (print_, print_process, log, log_process)
