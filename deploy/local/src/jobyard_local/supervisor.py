"""Keeps processes running: one that ends is started again, after a pause that grows from 0.5 s to 10 s."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from jobyard_local.errors import StackError
from jobyard_local.process import Identity, Process, Program, start
from jobyard_local.servers.server import until_ready

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STABLE_S = 30.0
READY_TIMEOUT_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Charge:
    """One process to keep: how to start it, and how to tell that it serves."""

    name: str
    program: Callable[[], Program]
    answers: Callable[[], Awaitable[bool]]
    ended: Callable[[bool], None] = lambda clean: None
    """Told after each end whether it was a clean stop."""


class Supervisor:
    """All processes of a stack by name. `changed` is called whenever a process id is new."""

    def __init__(self, *, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._say = say
        self._changed = changed
        self._charges: dict[str, Charge] = {}
        self._processes: dict[str, Process] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    def pid(self, name: str) -> int | None:
        process = self._processes.get(name)
        return None if process is None else process.pid

    def identities(self) -> dict[str, Identity]:
        return {name: process.identity for name, process in self._processes.items()}

    async def start(self, charge: Charge) -> float:
        """Start it and wait until it serves; returns the seconds; raises `ServerFailed`. From then on it is kept."""
        process = await self._launch(charge)
        seconds = await until_ready(process, charge.answers, timeout_s=READY_TIMEOUT_S)
        self._watches[charge.name] = asyncio.create_task(self._keep(charge), name=f"keep {charge.name}")
        return seconds

    async def _launch(self, charge: Charge) -> Process:
        process = await start(charge.program())
        self._charges[charge.name] = charge
        self._processes[charge.name] = process
        self._changed()
        return process

    async def _keep(self, charge: Charge) -> None:
        pause = FIRST_PAUSE_S
        while True:
            process, began = self._processes[charge.name], time.monotonic()
            code = await process.wait()
            if self._stopping:
                return
            charge.ended(False)
            if time.monotonic() - began > STABLE_S:
                pause = FIRST_PAUSE_S
            self._say(f"{charge.name} {describe(code)}; starting it again in {pause:g} s (log: {process.program.log})")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            await self._again(charge)

    async def _again(self, charge: Charge) -> None:
        began = time.monotonic()
        try:
            process = await self._launch(charge)
            await until_ready(process, charge.answers, timeout_s=READY_TIMEOUT_S)
        except (StackError, OSError) as error:
            self._say(f"{charge.name} is not back: {str(error).splitlines()[0]}")
            return
        self._say(f"{charge.name} is back after {time.monotonic() - began:.1f} s (process {process.pid})")

    def retire(self) -> None:
        """From now on an end is no accident."""
        self._stopping = True
        for task in self._watches.values():
            task.cancel()

    async def stop(self, names: Iterable[str], *, timeout_s: float) -> list[str]:
        """Stop these at the same time; returns those that had to be killed."""
        self.retire()
        wanted = [name for name in names if name in self._processes]
        clean = await asyncio.gather(*(self._processes[name].stop(timeout_s=timeout_s) for name in wanted))
        for name, by_itself in zip(wanted, clean, strict=True):
            self._charges[name].ended(by_itself)
        return [name for name, by_itself in zip(wanted, clean, strict=True) if not by_itself]

    def kill_all(self) -> None:
        self.retire()
        for process in self._processes.values():
            process.send(signal.SIGKILL)


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with code {code}"
