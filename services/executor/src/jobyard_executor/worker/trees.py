"""Process trees: what lives below a subreaper, and its end."""

# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

SWEEP_LIMIT_S = 5.0


def children(pid: int) -> list[int]:
    """Children of all threads of a process, zombies too."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
                return _children_by_scan(pid)
    return found


def _children_by_scan(pid: int) -> list[int]:
    """For kernels built without the list of children."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(int(name)) == pid]


def parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(text[text.rindex(b")") + 2 :].split()[1])


def _is_dead(pid: int) -> bool:
    """Gone, or a zombie that waits for somebody else to collect it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return text[text.rindex(b")") + 2 : text.rindex(b")") + 3] in (b"Z", b"X")


def living_below(pid: int, *, spare: Collection[int] = ()) -> list[int]:
    """Who is alive below `pid`, but for those in `spare`."""
    return [found for found in below(pid) if found not in spare and not _is_dead(found)]


def below(pid: int) -> list[int]:
    """Everybody below `pid`, parents before children."""
    found: list[int] = []
    waiting = children(pid)
    while waiting:
        found += waiting
        waiting = [child for parent in waiting for child in children(parent)]
    return found


def reap(spare: Collection[int] = ()) -> None:
    """Collect every dead child of this process but those in `spare`."""
    for child in children(os.getpid()):
        if child not in spare:
            with suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


def sweep(spare: Collection[int] = (), *, strike: Callable[[], None] | None = None) -> list[int]:
    """Kill everybody below this subreaper but those in `spare`, until nobody is left; who withstood for 5 s.

    A process that forks faster than it is found is stopped first: stopped parents have no further children. `strike`,
    called if there is anybody, is a quicker way to the same end.
    """
    me = os.getpid()
    deadline = time.monotonic() + SWEEP_LIMIT_S
    pause = 0.0
    while True:
        reap(spare)
        victims = living_below(me, spare=spare)
        if not victims:
            return []
        if strike is not None:
            strike()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        if time.monotonic() > deadline:
            return living_below(me, spare=spare)
        time.sleep(pause)
        pause = min(pause + 0.001, 0.02)
