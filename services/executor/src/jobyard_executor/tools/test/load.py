"""`test.cpu`, `test.alloc`, `test.files`, `test.tree`: jobs that use the machine."""

from __future__ import annotations

import contextlib
import os
import time

from jobyard.author import Context

from jobyard_executor.tools.test.arguments import carrying
from jobyard_executor.tools.test.declare import test_tool
from jobyard_executor.tools.test.models import Alloc, Cpu, Files, Tree
from jobyard_executor.tools.test.scripts.alloc.run import allocate
from jobyard_executor.tools.test.scripts.cpu.run import burn
from jobyard_executor.tools.test.scripts.files.run import file_name, write_file
from jobyard_executor.tools.test.scripts.tree.run import plant


@test_tool("test.cpu.process")
def cpu(ctx: Context, params: Cpu) -> dict[str, float]:
    """Keep one core busy."""
    return {"cpu_s": burn(params.seconds, between=ctx.check)}


@test_tool("test.alloc.process")
def alloc(ctx: Context, params: Alloc) -> dict[str, int]:
    """Allocate and touch memory in steps of 16 MiB."""
    kept = allocate(params.mebibytes, say=lambda text: print(text, flush=True))
    _wait(ctx, params.hold_s)
    kept.clear()
    return {"mebibytes": params.mebibytes}


@test_tool("test.files.process")
def files(ctx: Context, params: Files) -> dict[str, int]:
    """Write output files with known content."""
    for number in range(1, params.count + 1):
        ctx.check()
        write_file(ctx.save_file(file_name(number)), seed=params.seed, number=number, size=params.bytes)
    return {"files": params.count}


@test_tool("test.tree.process")
def tree(ctx: Context, params: Tree) -> dict[str, int]:
    """Start processes that are hard to find and to end, then sleep."""
    with carrying(params.marker):
        children = plant(**params.model_dump())
        try:
            print("ready", flush=True)
            _wait(ctx, params.seconds)
        finally:
            _reap(children)
    return {"children": params.children}


def _reap(children: list[int]) -> None:
    """Those that have ended leave no zombie in a process that goes on to other jobs."""
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _wait(ctx: Context, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        ctx.check()
        time.sleep(min(left, 0.1))


TOOLS = (cpu, alloc, files, tree)
