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

from jobyard.author import Context, Item, RetryLater, ToolError, batch_tool, tool
from jobyard_executor.tools.catalogue import Catalogue, load
from jobyard_executor.tools.toolfile import read
from pydantic import BaseModel


class AnyParameters(BaseModel):
    text: str = ""


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


@tool("odd.descriptors")
def descriptors(ctx: Context) -> None:
    """Opens descriptors until there are no more."""
    kept = []
    while True:
        kept.append(os.open("/dev/null", os.O_RDONLY))


@tool("odd.hoard")
def hoard(ctx: Context) -> None:
    """Fills the disk, file by file."""
    for number in range(1_000_000):
        (ctx.work_dir / f"{number}").write_bytes(b"x" * 2**20)
        time.sleep(0.001)


@tool("odd.single")
def single(ctx: Context) -> None:
    """Fills the disk with one file."""
    with ctx.save_file("big").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 2**20)


@tool("odd.breeder")
def breeder(ctx: Context) -> None:
    """A fork bomb that ends by itself at 300."""
    for _ in range(300):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    time.sleep(60)


@tool("odd.endless")
def endless(ctx: Context) -> list[int]:
    """A result as large as memory."""
    found = []
    while True:
        found.append("x" * 2**20)


@tool("odd.talker")
async def talker(ctx: Context) -> None:
    """Log lines and prints without end, on the loop."""
    for number in range(400_000):
        ctx.log.info("again and again", n=number)
        if number % 100 == 0:
            await asyncio.sleep(0)


@tool("odd.parameters")
def parameters(ctx: Context, params: AnyParameters) -> int:
    return len(params.text)


@tool("odd.parameters_async")
async def parameters_async(ctx: Context, params: AnyParameters) -> int:
    return len(params.text)


@tool("odd.later")
def later(ctx: Context) -> None:
    raise RetryLater(12.5, "the other side is busy", code="busy")


@batch_tool("odd.batch", params=AnyParameters, size=5, interval_s=0.2)
async def batch(items: Sequence[Item[AnyParameters]]) -> list[Any]:
    """Each answer names how many were served together."""
    together = len(items)
    for item in items:
        item.ctx.log.info("served", together=together)
    return [ToolError("bad one", code="bad") if item.params.text == "bad" else together for item in items]


def load_odd(packs: Sequence[str], **options: Any) -> Catalogue:
    catalogue = load(["test"], **options)
    for function in (
        block, immortal, late, exit_process, segfault, pid, untidy, thread, chatty, large, confined, credentials,
        descriptors, hoard, single, breeder, endless, talker, parameters, parameters_async, later, batch,
    ):  # fmt: skip
        catalogue.add(function, origin="these tests")
    for path in sorted(Path(__file__).parent.glob("scripts/*/tool.toml")):
        catalogue.add(read(path), origin=str(path))
    return catalogue
