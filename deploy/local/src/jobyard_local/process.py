"""One operating system process of the stack: how it is started, watched and ended.

Every process gets a session of its own (Ctrl-C reaches only the launcher, which stops things in order), the guard's
parent-death signal, the launch mark in its environment, and a log file. Start them from the main thread: the kernel
ties the parent-death signal to the thread that forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
LAUNCH_MARK = "JOBYARD_LAUNCH"


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run and how it wants to be ended."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_timeout_s: float = 10.0
    guard: Sequence[str] = field(default=())
    """Identity options of the guard."""


@dataclass(frozen=True)
class Identity:
    """A process that cannot be taken for another: ids are used again, start times (clock ticks since boot) are not."""

    pid: int
    started: int

    def alive(self) -> bool:
        return started_at(self.pid) == self.started


class Process:
    """A running `Program`."""

    def __init__(self, program: Program, handle: asyncio.subprocess.Process) -> None:
        self.program = program
        self._handle = handle
        self.identity = Identity(handle.pid, started_at(handle.pid) or 0)

    @property
    def pid(self) -> int:
        return self._handle.pid

    @property
    def returncode(self) -> int | None:
        return self._handle.returncode

    async def wait(self) -> int:
        return await self._handle.wait()

    def send(self, number: signal.Signals) -> None:
        if self._handle.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._handle.send_signal(number)

    async def stop(self, *, timeout_s: float | None = None) -> bool:
        """Ask it to end, then kill its whole session; returns whether it ended by itself in time."""
        self.send(self.program.stop_signal)
        try:
            async with asyncio.timeout(self.program.stop_timeout_s if timeout_s is None else timeout_s):
                await self._handle.wait()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        if self._handle.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.send(signal.SIGKILL)
        await self._handle.wait()


async def start(program: Program) -> Process:
    """Start it with its output appended to its log; raises `OSError` if there is no such program."""
    program.log.parent.mkdir(parents=True, exist_ok=True)
    guard = [*program.guard, "--signal", str(int(program.death_signal)), "--parent", str(os.getpid())]
    with program.log.open("ab") as log:
        handle = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(GUARD), *guard, "--", *program.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(program.env),
            cwd=program.cwd,
            start_new_session=True,
        )
    return Process(program, handle)


async def run(program: Program, *, timeout_s: float) -> int:
    """Run it to its end and return its exit code; raises `TimeoutError` after killing it."""
    process = await start(program)
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    finally:
        await process.kill()


def started_at(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot; None if there is none (a zombie is none)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def marked(mark: str) -> list[int]:
    """Processes that were started by the launch of this mark, and what they started with the same environment."""
    needle = f"{LAUNCH_MARK}={mark}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if needle in (entry / "environ").read_bytes() + b"\0" and started_at(int(entry.name)) is not None:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end_all(identities: Sequence[Identity], *, timeout_s: float) -> list[Identity]:
    """SIGTERM to each that lives, SIGKILL after `timeout_s`; returns those that had to be killed."""
    left = _signal(identities, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [one for one in left if one.alive()]
    return _signal(left, signal.SIGKILL)


def _signal(identities: Sequence[Identity], number: signal.Signals) -> list[Identity]:
    living = [one for one in identities if one.alive()]
    for one in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, number)
    return living


def log_tail(path: Path, *, lines: int = 5) -> str:
    """The last lines of a log, for an error message."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""
