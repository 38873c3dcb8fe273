"""Spawning a tool at a level of the ladder: confinement on a thread that does nothing else, limits before the tool."""

# ruff: noqa: PTH208

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from jobyard_executor.sandbox import landlock, seccomp, users
from jobyard_executor.sandbox.cgroups import Group
from jobyard_executor.sandbox.kernel import KernelRefused, drop_capabilities, machine, no_new_privileges

SYSTEM_FOLDERS = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/ssl", "/etc/ca-certificates",
    "/etc/alternatives", "/etc/localtime", "/opt",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


TASKS_PER_PROCESS = 4
"""The kernel counts threads too; programs with a pool of them must still run."""


class CannotConfine(Exception):
    """The tool was not started, because its level could not be set up; the message says which step failed."""


class OutOfReach(CannotConfine):
    """The tool was not started, because its own user may not read what it needs."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one process of a tool may use; `processes` counts the whole tree."""

    memory_bytes: int = 2 * 2**30
    file_bytes: int = 10 * 2**30
    open_files: int = 1024
    processes: int = 256
    cpu_s: int = 24 * 3600
    headroom: int = 1024
    """Tasks of a shared user beyond those that exist already: the kernel counts them all together (not for root)."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a tool may touch. `read` are its own folders; system folders and this interpreter are always readable.

    `user` is whose processes the tool's will be, None: this process's own; at L0 always that. `group` is what counts
    them at L4."""

    level: str = "L1"
    work_dir: str
    read: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    user: users.User | None = None
    group: Group | None = None


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """What becomes 1, 2 and, unless None, 3 of the tool; everything else stays here."""

    out: int
    err: int
    channel: int | None = None


def spawn(argv: Sequence[str], *, policy: Policy, env: Mapping[str, str], descriptors: Descriptors) -> int:
    """Start a tool in its work dir and a session of its own, at L0, L1 or L2; its pid.

    Changes this process's directory and umask for a moment, so it is for single-threaded processes.
    Raises CannotConfine (OutOfReach if only its user is in the way), or OSError when the program cannot be started.
    """
    before = Path.cwd()
    mask = os.umask(0o077)
    try:
        os.chdir(policy.work_dir)
        if policy.level == "L0":
            return _start(argv, env, descriptors)
        return _on_thread([*bounded(policy), *argv], policy, env, descriptors)
    finally:
        os.chdir(before)
        os.umask(mask)


def confine(policy: Policy) -> None:
    """Confine the calling thread for good, at L1 or L2, as the policy's user. Raises KernelRefused."""
    no_new_privileges()
    kind = machine()
    confined = policy.level != "L1"
    interface = landlock.version() if confined else 0
    if confined and (kind is None or interface < landlock.SCOPES_SINCE):
        raise KernelRefused(38, f"Landlock interface {interface} is too old for {policy.level}")
    if policy.user is None and os.geteuid() == 0:
        drop_capabilities()
    if confined:
        landlock.restrict(
            read=[*SYSTEM_FOLDERS, *interpreter(), *policy.read],
            write=[policy.work_dir],
            devices=DEVICES,
            interface=interface,
        )
    if policy.user is not None:
        users.become(policy.user)
    if confined and kind is not None:
        seccomp.install(kind)


def rlimits(policy: Policy) -> dict[int, tuple[int, int]]:
    """The limits as setrlimit takes them, never above what this process may have itself."""
    limits = policy.limits
    shared = policy.user is None
    wanted = {
        resource.RLIMIT_DATA: limits.memory_bytes,
        resource.RLIMIT_AS: 4 * limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: (_tasks_of_user() + limits.headroom if shared else TASKS_PER_PROCESS * limits.processes),
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    return {which: (value, value) for which, value in ((which, _capped(which, v)) for which, v in wanted.items())}


_OPTIONS = {
    resource.RLIMIT_DATA: "data",
    resource.RLIMIT_AS: "as",
    resource.RLIMIT_FSIZE: "fsize",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_NPROC: "nproc",
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_CORE: "core",
    resource.RLIMIT_MSGQUEUE: "msgqueue",
}


@lru_cache(maxsize=1)
def prlimit_program() -> str | None:
    """util-linux's `prlimit`, which sets limits on itself and then becomes the tool."""
    return shutil.which("prlimit", path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")


def bounded(policy: Policy) -> list[str]:
    """The start of a command line that runs under the policy's limits. Raises CannotConfine."""
    program = prlimit_program()
    if program is None:
        raise CannotConfine("limits need the program prlimit of util-linux, and it is not installed")
    return [program, *(f"--{_OPTIONS[which]}={soft}:{hard}" for which, (soft, hard) in rlimits(policy).items()), "--"]


def _capped(which: int, value: int) -> int:
    hard = resource.getrlimit(which)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


@lru_cache(maxsize=1)
def _tasks_of_user() -> int:
    """Processes and threads of this user now: the kernel counts them all against RLIMIT_NPROC."""
    user, total = os.getuid(), 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == user:
                total += len(os.listdir(f"/proc/{entry.name}/task"))
        except OSError:
            continue
    return total


@lru_cache(maxsize=1)
def interpreter() -> tuple[str, ...]:
    """Folders of the running Python, which tools may read."""
    return tuple({sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)})


def _start(argv: Sequence[str], env: Mapping[str, str], descriptors: Descriptors) -> int:
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, descriptors.out, 1),
        (os.POSIX_SPAWN_DUP2, descriptors.err, 2),
    ]
    if descriptors.channel is not None:
        actions.append((os.POSIX_SPAWN_DUP2, descriptors.channel, 3))
    return os.posix_spawnp(
        argv[0],
        list(argv),
        dict(env),
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGXFSZ],
    )


def _on_thread(argv: Sequence[str], policy: Policy, env: Mapping[str, str], descriptors: Descriptors) -> int:
    pids: list[int] = []

    def jailed() -> None:
        confine(policy)
        if policy.user is not None:
            _require_reach([*argv, *policy.read], policy)
        pids.append(_start(argv, env, descriptors))

    try:
        users.apart(jailed)
    except KernelRefused as fault:
        raise CannotConfine(f"{policy.level} could not be set up: {fault}") from fault
    return pids[0]


def _require_reach(paths: Sequence[str], policy: Policy) -> None:
    """Whether the calling thread's user comes to files that the tool is started with. Raises OutOfReach."""
    if not os.access(policy.work_dir, os.W_OK | os.X_OK):
        raise OutOfReach(f"its own user cannot come to {policy.work_dir}")
    for path in paths:
        if path.startswith("/") and not os.access(path, os.R_OK) and not _is_missing(path):
            raise OutOfReach(f"its own user may not read {path}")


def _is_missing(path: str) -> bool:
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
