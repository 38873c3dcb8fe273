"""Spawning a tool at a level of the ladder: confinement on a thread that does nothing else, limits before the tool."""

# ruff: noqa: PTH208

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from jobyard_executor.sandbox import landlock, seccomp
from jobyard_executor.sandbox.kernel import KernelRefused, drop_capabilities, machine, no_new_privileges

SYSTEM_FOLDERS = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/ssl", "/etc/ca-certificates",
    "/etc/alternatives", "/etc/localtime", "/opt",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class CannotConfine(Exception):
    """The tool was not started, because its level could not be set up; the message says which step failed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one process of a tool may use; `processes` counts the whole tree."""

    memory_bytes: int = 2 * 2**30
    file_bytes: int = 10 * 2**30
    open_files: int = 1024
    processes: int = 256
    cpu_s: int = 24 * 3600
    headroom: int = 1024
    """Tasks of this user beyond those that exist already: the kernel counts them all together (not for root)."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a tool may touch. `read` are its own folders; system folders and this interpreter are always readable."""

    level: str = "L1"
    work_dir: str
    read: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """What becomes 1, 2 and, unless None, 3 of the tool; everything else stays here."""

    out: int
    err: int
    channel: int | None = None


def spawn(argv: Sequence[str], *, policy: Policy, env: Mapping[str, str], descriptors: Descriptors) -> int:
    """Start a tool in its work dir and a session of its own, at L0, L1 or L2; its pid.

    Changes this process's directory and umask for a moment, so it is for single-threaded processes.
    Raises CannotConfine, or OSError when the program cannot be started.
    """
    before = Path.cwd()
    mask = os.umask(0o077)
    try:
        os.chdir(policy.work_dir)
        if policy.level == "L0":
            return _start(argv, env, descriptors)
        return _on_thread([*_bounded(policy.limits), *argv], policy, env, descriptors)
    finally:
        os.chdir(before)
        os.umask(mask)


def confine(policy: Policy) -> None:
    """Confine the calling thread for good, at L1 or L2. Raises KernelRefused."""
    no_new_privileges()
    kind = machine()
    confined = policy.level != "L1"
    interface = landlock.version() if confined else 0
    if confined and (kind is None or interface < landlock.SCOPES_SINCE):
        raise KernelRefused(38, f"Landlock interface {interface} is too old for {policy.level}")
    if os.geteuid() == 0:
        drop_capabilities()
    if not confined or kind is None:
        return
    landlock.restrict(
        read=[*SYSTEM_FOLDERS, *interpreter(), *policy.read],
        write=[policy.work_dir],
        devices=DEVICES,
        interface=interface,
    )
    seccomp.install(kind)


def rlimits(limits: Limits) -> dict[int, tuple[int, int]]:
    """The limits as setrlimit takes them, never above what this process may have itself."""
    wanted = {
        resource.RLIMIT_DATA: limits.memory_bytes,
        resource.RLIMIT_AS: 4 * limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: _tasks_of_user() + limits.headroom,
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


def _bounded(limits: Limits) -> list[str]:
    program = prlimit_program()
    if program is None:
        raise CannotConfine("limits need the program prlimit of util-linux, and it is not installed")
    return [program, *(f"--{_OPTIONS[which]}={soft}:{hard}" for which, (soft, hard) in rlimits(limits).items()), "--"]


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
    faults: list[OSError] = []

    def jailed() -> None:
        try:
            confine(policy)
            pids.append(_start(argv, env, descriptors))
        except OSError as error:
            faults.append(error)

    thread = threading.Thread(target=jailed, name="jail")
    thread.start()
    thread.join()
    if pids:
        return pids[0]
    fault = faults[0] if faults else OSError("the jail thread ended without a word")
    if isinstance(fault, KernelRefused):
        raise CannotConfine(f"{policy.level} could not be set up: {fault}") from fault
    raise fault
