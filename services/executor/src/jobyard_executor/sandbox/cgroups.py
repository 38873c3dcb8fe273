"""Control groups (version 2): one for each attempt at L4, below a folder that was delegated to this executor.

The group is made and limited before the tool's first instruction; memory and processes are then counted for the whole
tree, whatever users and sessions it makes. When memory runs out the kernel ends the whole group and counts it, so
`oom` is known and not guessed. One write ends everything in it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu")
SHARE = 50
"""Half of what a process outside has when processors are short."""
REMOVE_S = 1.0


class NoGroups(Exception):
    """There are no control groups to give; the message says why."""


@dataclass(frozen=True)
class Events:
    """What the kernel refused to a group: times that it ended the group for memory, forks that it refused."""

    oom: int
    forks_refused: int


class Group:
    """One attempt's group. Its limits are for all of its processes together; `tasks` counts threads too."""

    def __init__(self, root: str, name: str, *, memory_bytes: int, tasks: int) -> None:
        """Raises NoGroups."""
        if not Path(root, "cgroup.procs").exists():
            raise NoGroups(f"{root or 'nothing'} is no control group")
        self.path = Path(root, name)
        try:
            self.path.mkdir()
            self._write("memory.max", memory_bytes)
            with suppress(FileNotFoundError):
                self._write("memory.swap.max", 0)
            self._write("memory.oom.group", 1)
            self._write("pids.max", tasks)
            self._write("cpu.weight", SHARE)
        except OSError as error:
            self.remove()
            raise NoGroups(f"no control group could be made in {root}: {error}") from error

    def take(self, pid: int) -> None:
        """Put a process in; its children follow. Raises OSError."""
        self._write("cgroup.procs", pid)

    def kill(self) -> None:
        """SIGKILL for all in it, in one step that no fork escapes."""
        with suppress(OSError):
            self._write("cgroup.kill", 1)

    def events(self) -> Events:
        return Events(self._count("memory.events", "oom_kill"), self._count("pids.events", "max"))

    def remove(self) -> None:
        """When nobody is left in it. One that stays is removed at the next start."""
        deadline = time.monotonic() + REMOVE_S
        while True:
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.002)
            else:
                return

    def _write(self, name: str, value: int) -> None:
        (self.path / name).write_text(str(value))

    def _count(self, name: str, event: str) -> int:
        with suppress(OSError, ValueError):
            for line in (self.path / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == event:
                    return int(value)
        return 0


def prepare(root: str) -> None:
    """Switch the controllers on below `root`, and remove groups of processes that are gone. Raises NoGroups."""
    if not root:
        raise NoGroups("no control group is delegated to the executor")
    folder = Path(root)
    try:
        offered = (folder / "cgroup.controllers").read_text().split()
        missing = [name for name in CONTROLLERS if name not in offered]
        if missing:
            raise NoGroups(f"{root} has no controller {', '.join(missing)}")
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    except OSError as error:
        raise NoGroups(f"{root} is no control group that this process may use: {error}") from error
    for left in folder.glob("jobyard-*"):
        owner = left.name.split("-")[1]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            with suppress(OSError):
                (left / "cgroup.kill").write_text("1")
                left.rmdir()


def name_of(handle: int) -> str:
    """A name that no other process on this machine gives."""
    return f"jobyard-{os.getpid()}-{handle}"
