"""`test.count` leaves a trace in a file outside; `test.digest` reads an input and can copy it to an output."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time

from jobyard.author import Context, Slot, ToolError

from jobyard_executor.tools.test.declare import test_tool
from jobyard_executor.tools.test.models import Count, Digest

Effect = dict[str, int]
SLOTS = {"data": Slot(description="any file")}


@test_tool("test.count")
async def count(ctx: Context, params: Count) -> Effect:
    """Append a line to a file at the start and at the end, so that every effect is seen."""
    _append(ctx, params, "start")
    await asyncio.sleep(params.seconds)
    _append(ctx, params, "end")
    return _effect(ctx, params)


@test_tool("test.count.process")
def count_process(ctx: Context, params: Count) -> Effect:
    """Append a line to a file at the start and at the end, from a child process."""
    _append(ctx, params, "start")
    time.sleep(params.seconds)
    _append(ctx, params, "end")
    return _effect(ctx, params)


def _append(ctx: Context, params: Count, event: str) -> None:
    entry = {
        "event": event,
        "job_id": ctx.job_id,
        "attempt": ctx.attempt,
        "fence": ctx.fence,
        "n": params.n,
        "pid": os.getpid(),
        "at": time.time(),
    }
    try:
        descriptor = os.open(params.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ToolError(f"Cannot append to {params.path}: {error}", code="bad_path", retryable=False) from None
    try:
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(descriptor)


def _effect(ctx: Context, params: Count) -> Effect:
    return {"n": params.n, "square": params.n**2, "attempt": ctx.attempt, "fence": ctx.fence}


@test_tool("test.digest", slots=SLOTS)
async def digest(ctx: Context, params: Digest) -> dict[str, int | str]:
    """Size and SHA-256 of the input file, and a copy of it if you like."""
    return await asyncio.to_thread(_digest, ctx, params)


@test_tool("test.digest.process", slots=SLOTS)
def digest_process(ctx: Context, params: Digest) -> dict[str, int | str]:
    """Size and SHA-256 of the input file, and a copy of it if you like, in a child process."""
    return _digest(ctx, params)


def _digest(ctx: Context, params: Digest) -> dict[str, int | str]:
    with ctx.open_file("data") as file:
        found = hashlib.file_digest(file, "sha256")
        size = file.tell()
    if params.copy_as is not None:
        shutil.copyfile(ctx.path_of("data"), ctx.save_file(params.copy_as))
    return {"size": size, "sha256": found.hexdigest()}


TOOLS = (count, count_process, digest, digest_process)
