"""L3: the tool in namespaces of its own. Nothing of it runs before its limits hold: bubblewrap waits on a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from jobyard_executor.sandbox import seccomp
from jobyard_executor.sandbox.jail import (
    SYSTEM_FOLDERS,
    CannotConfine,
    Descriptors,
    Policy,
    bounded,
    interpreter,
    rlimits,
)
from jobyard_executor.sandbox.kernel import machine

_SECCOMP, _INFO, _BLOCK = 10, 11, 12


@lru_cache(maxsize=1)
def program() -> str | None:
    """bubblewrap, None where it is not installed."""
    return shutil.which("bwrap", path=os.environ.get("PATH", "/usr/bin:/bin"))


def lowered(argv: Sequence[str], policy: Policy) -> list[str]:
    """`argv` as the policy's user, under its limits. Programs do it: bubblewrap ends with the thread that started it,
    so no short-lived one may, and to limit another user's process takes a capability that containers lack.
    Raises CannotConfine."""
    if policy.user is None:
        return list(argv)
    program = shutil.which("setpriv", path="/usr/bin:/bin:/usr/local/bin")
    if program is None:
        raise CannotConfine("a user of its own at L3 needs the program setpriv of util-linux, and it is not installed")
    ids = [f"--reuid={policy.user.uid}", f"--regid={policy.user.uid}", "--clear-groups"]
    return [*bounded(policy), program, *ids, "--", *argv]


def arguments(argv: Sequence[str], policy: Policy) -> list[str]:
    """bubblewrap's own options, then the tool."""
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--hostname", "tool", "--cap-drop", "ALL"]
    options += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - a tmpfs of the sandbox's own
    for path in dict.fromkeys([*SYSTEM_FOLDERS, *interpreter(), *policy.read]):
        options += ["--ro-bind-try", path, path]
    options += ["--bind", policy.work_dir, policy.work_dir, "--chdir", policy.work_dir]
    options += ["--seccomp", str(_SECCOMP), "--info-fd", str(_INFO), "--block-fd", str(_BLOCK)]
    return [*options, "--", *argv]


def spawn(argv: Sequence[str], *, policy: Policy, env: Mapping[str, str], descriptors: Descriptors) -> tuple[int, int]:
    """Start the tool; the pid of bubblewrap and the pid of the sandbox's init. For single-threaded, long-lived
    processes: the sandbox dies with the thread that made it. Raises CannotConfine or OSError."""
    binary, kind = program(), machine()
    if binary is None or kind is None:
        raise CannotConfine("L3 needs bubblewrap (bwrap), and it is not installed")
    info, info_low = os.pipe()
    gate_low, gate = os.pipe()
    info_theirs, gate_theirs = _high(info_low), _high(gate_low)
    filter_theirs = _high(os.memfd_create("filter", os.MFD_CLOEXEC))
    mask = os.umask(0o077)
    try:
        os.write(filter_theirs, seccomp.encode(seccomp.program(kind)))
        os.lseek(filter_theirs, 0, os.SEEK_SET)
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, descriptors.out, 1),
            (os.POSIX_SPAWN_DUP2, descriptors.err, 2),
            *([(os.POSIX_SPAWN_DUP2, descriptors.channel, 3)] if descriptors.channel is not None else []),
            (os.POSIX_SPAWN_DUP2, filter_theirs, _SECCOMP),
            (os.POSIX_SPAWN_DUP2, info_theirs, _INFO),
            (os.POSIX_SPAWN_DUP2, gate_theirs, _BLOCK),
        ]
        command = lowered([binary, *arguments(argv, policy)], policy)
        pid = os.posix_spawn(
            command[0],
            command,
            dict(env),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
        )
    except BaseException:
        os.close(info)
        os.close(gate)
        raise
    finally:
        os.umask(mask)
        for descriptor in (info_theirs, gate_theirs, filter_theirs):
            os.close(descriptor)
    try:
        init = _init_pid(info)
        if policy.group is not None:
            policy.group.take(init)
        if policy.user is None:
            for which, values in rlimits(policy).items():
                resource.prlimit(init, which, values)
        os.write(gate, b"1")
    except (OSError, ValueError, KeyError) as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise CannotConfine(f"L3 could not be set up: {error}") from error
    finally:
        os.close(info)
        os.close(gate)
    return pid, init


def tool_pid(init: int) -> int | None:
    """The tool itself, the first child of the sandbox's init: the one to ask to stop."""
    try:
        found = Path(f"/proc/{init}/task/{init}/children").read_text().split()
    except OSError:
        return None
    return int(found[0]) if found else None


def _high(descriptor: int) -> int:
    """The same, numbered above all that are given to the tool, so that no move overwrites what a later one needs."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(descriptor)
    return moved


def _init_pid(info: int) -> int:
    text = b""
    while not text.rstrip().endswith(b"}"):
        piece = os.read(info, 4096)
        if not piece:
            raise ValueError(f"bubblewrap ended without a word ({text[:200]!r})")
        text += piece
    return int(json.loads(text)["child-pid"])
