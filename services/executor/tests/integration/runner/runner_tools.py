"""Tools that misbehave in ways the test pack does not; loaded by the workers of these tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobyard.author import Context, tool
from jobyard_executor.tools.catalogue import Catalogue, load
from jobyard_executor.tools.toolfile import read


@tool("odd.block")
async def block(ctx: Context) -> None:
    time.sleep(60)  # noqa: ASYNC251 - the misbehaviour in question


@tool("odd.immortal")
async def immortal(ctx: Context) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            ctx.log("still here")


@tool("odd.late")
async def late(ctx: Context) -> str:
    async def afterwards() -> None:
        await asyncio.sleep(0.2)
        print("too late")

    ctx_task = asyncio.create_task(afterwards())
    ctx_task.add_done_callback(lambda _: None)
    return "done"


@tool("odd.exit")
def exit_process(ctx: Context) -> None:
    print("before", flush=True)
    os._exit(7)


@tool("odd.segfault")
def segfault(ctx: Context) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@tool("odd.pid")
def pid(ctx: Context) -> dict[str, Any]:
    return {"pid": os.getpid(), "mark": os.environ.get("MARK"), "cwd": str(Path.cwd())}


@tool("odd.untidy")
def untidy(ctx: Context) -> int:
    """Leaves a process, an environment, a directory and a handler behind."""
    os.environ["MARK"] = "left behind"
    os.chdir("/tmp")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return subprocess.Popen(["sleep", "300"], start_new_session=True).pid


@tool("odd.thread")
def thread(ctx: Context) -> int:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return os.getpid()


@tool("odd.chatty")
def chatty(ctx: Context) -> None:
    """Hears its stop request most probably in the middle of a frame."""
    while True:
        ctx.log("x" * 10_000)


@tool("odd.large")
def large(ctx: Context) -> str:
    return "x" * 300_000


@tool("odd.confined", isolation="process", min_isolation="L2")
def confined(ctx: Context) -> dict[str, Any]:
    refused = False
    try:
        Path("/etc/passwd").read_text()
    except PermissionError:
        refused = True
    ctx.save_file("out.txt").write_text("x")
    return {"refused": refused, "pid": os.getpid()}


@tool("odd.credentials")
def credentials(ctx: Context) -> list[str]:
    return sorted(os.environ)


def load_odd(packs: Sequence[str], **options: Any) -> Catalogue:
    catalogue = load(["test"], **options)
    for function in (
        block, immortal, late, exit_process, segfault, pid, untidy, thread, chatty, large, confined, credentials,
    ):  # fmt: skip
        catalogue.add(function, origin="these tests")
    for path in sorted(Path(__file__).parent.glob("scripts/*/tool.toml")):
        catalogue.add(read(path), origin=str(path))
    return catalogue
