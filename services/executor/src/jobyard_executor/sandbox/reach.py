"""Ways for other users to folders that lie below a private one, such as root's home.

An ordinary user comes to a path only if all folders above it let everybody pass. Where one does not, an empty folder is
put over it, in a mount namespace of this process alone, and what is needed is bound into that: nothing else below
the private folder is seen, and nothing changes for the rest of the machine.
"""

# Paths: raw names, and calls on a mount namespace that must not be resolved twice.
# ruff: noqa: PTH100, PTH103, PTH110, PTH116, PTH118, PTH120

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from jobyard_executor.sandbox.kernel import KernelRefused, call

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19
_MNT_DETACH = 2
_CLONE_NEWNS = 0x00020000
_DEPTH = 8
"""Private folders within what was opened, and so on."""


def barriers(paths: Iterable[str]) -> dict[str, list[str]]:
    """Private folders, each with the paths below it; the uppermost one of each path. Missing paths are left out."""
    found: dict[str, list[str]] = {}
    for path in dict.fromkeys(os.path.abspath(path) for path in paths):
        barrier = _barrier(path)
        if barrier is not None and os.path.exists(path):
            found.setdefault(barrier, []).append(path)
    return found


def open_up(paths: Iterable[str]) -> None:
    """Let every user come to `paths`, for this process and those that it starts. Raises KernelRefused or OSError, and
    has then opened only a part, but hidden nothing."""
    wanted = list(paths)
    walled = barriers(wanted)
    if walled:
        call("unshare", ctypes.c_int(_CLONE_NEWNS))
        _mount(None, "/", kind=None, flags=_MS_REC | _MS_SLAVE)
    for _ in range(_DEPTH):
        for barrier, needed in walled.items():
            _replace(barrier, needed)
        walled = barriers(wanted)


def _barrier(path: str) -> str | None:
    above = "/"
    for name in path.split("/")[1:-1]:
        above = os.path.join(above, name)
        try:
            if not os.stat(above).st_mode & stat.S_IXOTH:
                return above
        except OSError:
            return None
    return None


def _replace(barrier: str, needed: Iterable[str]) -> None:
    with ExitStack() as stack:
        sources: Mapping[str, int] = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in _outermost(needed)}
        for descriptor in sources.values():
            stack.callback(os.close, descriptor)
        mask = os.umask(0o022)
        stack.callback(os.umask, mask)
        _mount("none", barrier, kind="tmpfs", flags=_MS_NOSUID | _MS_NODEV, options="mode=0711,size=1m")
        undo = stack.enter_context(ExitStack())
        undo.callback(_unmount, barrier)
        for path, descriptor in sources.items():
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                os.makedirs(path, mode=0o755, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            _mount(f"/proc/self/fd/{descriptor}", path, kind=None, flags=_MS_BIND | _MS_REC)
        undo.pop_all()


def _outermost(paths: Iterable[str]) -> list[str]:
    """Paths that lie in no other of them."""
    every = set(paths)
    return [path for path in sorted(every) if not any(path.startswith(other + "/") for other in every)]


def _mount(source: str | None, target: str, *, kind: str | None, flags: int, options: str | None = None) -> None:
    """Raises KernelRefused."""

    def text(value: str | None) -> ctypes.c_char_p:
        return ctypes.c_char_p(os.fsencode(value) if value is not None else None)

    try:
        call("mount", text(source), text(target), text(kind), ctypes.c_ulong(flags), text(options))
    except KernelRefused as error:
        raise KernelRefused(error.errno or 0, f"{target} could not be opened for other users: {error}") from error


def _unmount(target: str) -> None:
    call("umount2", ctypes.c_char_p(os.fsencode(target)), ctypes.c_int(_MNT_DETACH))
