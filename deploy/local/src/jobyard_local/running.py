"""`run`, `demo`, `stop` and `servers`: what the person at the terminal asked for, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from jobyard_local.console import Console
from jobyard_local.errors import StackError
from jobyard_local.first_job import JobDidNotSucceed, run_first_job
from jobyard_local.home import Home, write_private
from jobyard_local.launch import DEFAULT_PORT, Launch
from jobyard_local.process import end_all

SECOND_CALL_S = 0.5
"""A terminal's Ctrl-C may arrive twice, by the group and by make; a second one of the user comes later."""


class Interrupts:
    """The first SIGINT or SIGTERM asks for an orderly stop, a later SIGINT for an end at once."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.at_once = asyncio.Event()
        self._first = 0.0

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        if not self.stop.is_set():
            self._first = time.monotonic()
            self.stop.set()
        elif number is signal.SIGINT and time.monotonic() - self._first > SECOND_CALL_S:
            self.at_once.set()


async def run(home: Path, *, console: Console, port: int) -> int:
    """Stay up until Ctrl-C. The first job runs once per home."""
    launch = Launch(Home(home), console=console, port=port)

    async def work() -> int:
        await launch.up()
        done = launch.home.path / "first-job.json"
        if not done.exists():
            try:
                await run_first_job(url=launch.gateway_url, key=launch.home.api_key() or "", console=console)
                write_private(done, json.dumps({"succeeded": True}))
            except JobDidNotSucceed as error:
                console.error(f"{error} (logs: {launch.home.logs})")
        for line in farewell(launch):
            console.line(line)
        await asyncio.Event().wait()
        return 0

    return await _guarded(launch, work(), console=console)


async def demo(home: Path, *, console: Console) -> int:
    """Start, run the first job, stop; 0 only if its result was printed."""
    launch = Launch(Home(home), console=console, port=0)

    async def work() -> int:
        await launch.up()
        await run_first_job(url=launch.gateway_url, key=launch.home.api_key() or "", console=console)
        return 0

    return await _guarded(launch, work(), console=console)


async def _guarded(launch: Launch, work: Coroutine[Any, Any, int], *, console: Console) -> int:
    interrupts = Interrupts()
    interrupts.install()
    task = asyncio.create_task(work)
    asked = asyncio.create_task(interrupts.stop.wait())
    await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if task.done():
        code = _outcome(task, console=console)
    else:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, StackError, JobDidNotSucceed):
            await task
    asked.cancel()
    if launch.home.held:
        await _down(launch, interrupts, console=console)
    return code


def _outcome(task: asyncio.Task[int], *, console: Console) -> int:
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, StackError | JobDidNotSucceed):
        console.error(str(error))
        return 1
    raise error


async def _down(launch: Launch, interrupts: Interrupts, *, console: Console) -> None:
    began = time.monotonic()
    if launch.started:
        console.step("stopping; Ctrl-C again ends everything at once")
    down = asyncio.create_task(launch.down())
    at_once = asyncio.create_task(interrupts.at_once.wait())
    await asyncio.wait([down, at_once], return_when=asyncio.FIRST_COMPLETED)
    if not down.done():
        down.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await down
        launch.kill()
    else:
        down.result()
    at_once.cancel()
    if launch.started:
        console.step(f"stopped ({time.monotonic() - began:.1f} s)")


def stop(home: Path, *, console: Console) -> int:
    """End the stack of this home: its launcher if that lives, else what it left, checked by start times."""
    left = {name: one for name, one in Home(home).left_running().items() if one.alive()}
    launcher = left.get("launcher")
    if not left:
        console.line(f"nothing runs in {home}")
        return 0
    if launcher is not None:
        os.kill(launcher.pid, signal.SIGTERM)
        deadline = time.monotonic() + 25
        while launcher.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
    killed = end_all([one for one in left.values() if one.alive()], timeout_s=10)
    Home(home).forget_running()
    console.line(f"stopped {len(left)} processes" + (f", {len(killed)} of them by force" if killed else ""))
    return 0


def farewell(launch: Launch) -> list[str]:
    """Where things are, and what to try."""
    url, home = launch.gateway_url, launch.home
    first = "  JOBYARD_HOME=" + str(home.path) + " " if home.path.name != ".jobyard" else "  "
    command = f"{first}.venv/bin/jobyard"
    return [
        "",
        f"API          {url}/v1   documents: {url}/docs",
        f"API key      in {home.stack_file} (the jobyard command finds it there)",
        f"logs         {home.logs}",
        "",
        "Try:",
        f"{command} run table.profile --file data.csv --follow",
        f"{command} jobs list",
        f"{command} status",
        "",
        "Ctrl-C stops everything.",
    ]


def wanted_port() -> int:
    """`JOBYARD_PORT`; raises `StackError` for what is no port."""
    given = os.environ.get("JOBYARD_PORT") or str(DEFAULT_PORT)
    if not (given.isascii() and given.isdigit()) or int(given) > 65535:
        raise StackError(f"JOBYARD_PORT={given} is not a port; use a number from 1 to 65535, or 0 for any free one")
    return int(given)
