"""Supervision, on real processes: restarted with growing pauses, ended with their launcher."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobyard_local import supervisor
from jobyard_local.process import LAUNCH_MARK, Program, marked, started_at
from jobyard_local.supervisor import Charge, Supervisor, describe


def program(log: Path, *argv: str, mark: str = "test") -> Program:
    env = {"PATH": os.environ["PATH"], LAUNCH_MARK: mark}
    return Program(name="sleeper", argv=argv, log=log, env=env, stop_timeout_s=5)


def charge(make: Callable[[], Program]) -> Charge:
    async def answers() -> bool:
        return True

    return Charge(name="sleeper", program=make, answers=answers)


def test_a_process_that_dies_is_started_again_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    pids: list[int | None] = []

    async def story() -> None:
        kept = Supervisor(say=said.append, changed=lambda: pids.append(kept.pid("sleeper")))
        await kept.start(charge(lambda: program(tmp_path / "log", "/bin/sleep", "100")))
        first = kept.pid("sleeper")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: any("is back" in line for line in said), within_s=10)
        assert kept.pid("sleeper") != first
        assert await kept.stop(["sleeper"], timeout_s=5) == []

    asyncio.run(story())
    assert "was ended by SIGKILL; starting it again in 0.5 s" in said[0]
    assert len(pids) == 2


def test_a_process_that_ends_at_once_is_tried_with_growing_pauses(tmp_path: Path) -> None:
    said: list[str] = []

    async def story() -> None:
        kept = Supervisor(say=said.append, changed=lambda: None)
        await kept.start(charge(lambda: program(tmp_path / "log", "/bin/sleep", "0.2")))
        await eventually(lambda: sum("starting it again" in line for line in said) == 3, within_s=15)
        await kept.stop(["sleeper"], timeout_s=1)

    asyncio.run(story())
    pauses = [line.split(" in ")[1].split(" s")[0] for line in said if "starting it again" in line]
    assert pauses[:3] == ["0.5", "1", "2"]
    assert supervisor.LONGEST_PAUSE_S == 10


def test_a_deaf_process_is_killed_in_time(tmp_path: Path) -> None:
    async def story() -> list[str]:
        kept = Supervisor(say=print, changed=lambda: None)
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
        await kept.start(charge(lambda: program(tmp_path / "log", sys.executable, "-c", deaf)))
        await eventually(lambda: "up" in (tmp_path / "log").read_text(), within_s=10)
        return await kept.stop(["sleeper"], timeout_s=0.3)

    assert asyncio.run(story()) == ["sleeper"]


LAUNCHER = """
import asyncio, os, subprocess, sys
from pathlib import Path
from jobyard_local.process import Program, start
folder, mark, watch = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
async def main():
    keeper = subprocess.Popen([sys.executable, "-I", "-S", watch, mark], stdin=subprocess.PIPE, env={})
    tree = "sleep 100 & exec setsid sleep 100"
    await start(Program(name="tree", argv=["/bin/sh", "-c", tree], log=folder / "log",
                        env={"PATH": os.environ["PATH"], "JOBYARD_LAUNCH": mark}))
    print("up", flush=True)
    await asyncio.sleep(100)
asyncio.run(main())
"""


def test_a_killed_launcher_leaves_nothing_not_even_grandchildren(tmp_path: Path) -> None:
    mark = f"kill-{os.getpid()}-{time.monotonic_ns()}"
    watch = Path(supervisor.__file__).with_name("watch.py")
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), mark, str(watch)], stdout=subprocess.PIPE
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"up\n"
        until(lambda: len(marked(mark)) >= 2, within_s=5)
        launcher.kill()
        launcher.wait()
        until(lambda: not marked(mark), within_s=5)


async def eventually(condition: Callable[[], bool], *, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (nothing signals what another process does)
            await asyncio.sleep(0.02)


def until(condition: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_ends_are_told_in_words() -> None:
    assert describe(-9) == "was ended by SIGKILL"
    assert describe(3) == "ended with code 3"
    assert started_at(os.getpid()) is not None
    assert started_at(2**22 + 1) is None
