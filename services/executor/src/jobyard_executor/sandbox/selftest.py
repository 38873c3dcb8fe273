"""Which levels hold on this machine: each is attacked at the start, and only those that refuse everything are offered.

prove ─► cached for this boot, this code and this user? ─► else a process of its own: victim + attacker per level
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobyard_executor.sandbox import bubblewrap, jail, landlock
from jobyard_executor.sandbox.jail import Descriptors, Limits, Policy
from jobyard_executor.sandbox.kernel import become_subreaper, machine, number
from jobyard_executor.worker import trees

BOTTOM = "L0"
TRIED = ("L1", "L2", "L3")
LIMIT_S = 30.0
PROBE_S = 8.0
FORKS = 40
COUNTED_BY_GUARDIAN = "fork bomb:"
_LIMITS = Limits(memory_bytes=512 * 2**20, file_bytes=2**20, headroom=FORKS // 2)
_PROBE = str(Path(__file__).with_name("probe.py"))


@dataclass(frozen=True)
class Proof:
    """`levels` hold; `faults` says for each other level what it let through or why it could not be tried."""

    levels: frozenset[str]
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    took_s: float = 0.0
    cached: bool = False


def prove(*, cache: Path | None = None) -> Proof:
    """The levels of this machine. A self-test that does not come to its end proves nothing but L0."""
    key = _key()
    remembered = _remembered(cache, key)
    if remembered is not None:
        return remembered
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jobyard_executor.sandbox.selftest"],
            capture_output=True,
            timeout=LIMIT_S,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            start_new_session=True,
            check=True,
        )
        faults = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        stderr = getattr(error, "stderr", None) or b""
        reason = f"the self-test failed: {error} {stderr.decode(errors='replace')[-500:]}"
        return Proof(frozenset({BOTTOM}), {level: [reason] for level in TRIED}, time.monotonic() - began)
    proof = _proof(faults, took_s=time.monotonic() - began)
    _remember(cache, key, faults)
    return proof


def judged(report: Mapping[str, Mapping[str, str]], *, survivors: int) -> list[str]:
    """What speaks against a level: attacks not refused, chores that fail, processes that no sweep ended."""
    faults = [f"{name}: {answer}" for name, answer in report["attacks"].items() if answer != "refused"]
    # The kernel exempts root, inside user namespaces too, from RLIMIT_NPROC: the slot guardian counts every tree
    # itself and kills it above its limit, so this answer does not decide.
    faults = [fault for fault in faults if not fault.startswith(COUNTED_BY_GUARDIAN)]
    faults += [f"{name}: {answer}" for name, answer in report["chores"].items() if answer != "works"]
    if survivors:
        faults.append(f"{survivors} processes survived the sweep")
    return faults


def _proof(faults: Mapping[str, Sequence[str]], *, took_s: float = 0.0, cached: bool = False) -> Proof:
    """A level counts only with all those below it."""
    levels = {BOTTOM}
    for level in TRIED:
        if faults.get(level, ["not tried"]):
            break
        levels.add(level)
    return Proof(frozenset(levels), {level: found for level, found in faults.items() if found}, took_s, cached)


def _key() -> str:
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    with suppress(OSError):
        code.update(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    for fact in (os.uname().release, os.getuid(), sys.executable, bubblewrap.program(), jail.prlimit_program()):
        code.update(repr(fact).encode())
    return code.hexdigest()


def _remembered(cache: Path | None, key: str) -> Proof | None:
    if cache is None:
        return None
    try:
        kept = json.loads(cache.read_text())
        return _proof(kept["faults"], cached=True) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(cache: Path | None, key: str, faults: Mapping[str, Sequence[str]]) -> None:
    if cache is None:
        return
    fresh = cache.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        fresh.write_text(json.dumps({"key": key, "faults": faults}))
        fresh.replace(cache)


def attack_all() -> dict[str, list[str]]:
    """Every level with what speaks against it; for the self-test's own process, which is single-threaded."""
    become_subreaper()
    faults: dict[str, list[str]] = {}
    with ExitStack() as stack:
        targets, victim = _targets(stack)
        for level in TRIED:
            reason = _impossible(level)
            faults[level] = [reason] if reason else _attacked(level, targets, victim)
    return faults


def _impossible(level: str) -> str | None:
    if machine() is None:
        return f"no confinement is known for machines of kind {os.uname().machine}"
    if level in ("L1", "L2") and jail.prlimit_program() is None:
        return "the program prlimit (util-linux) is not installed"
    if level == "L2" and landlock.version() < landlock.SCOPES_SINCE:
        return f"the kernel's Landlock interface is {landlock.version()}, {landlock.SCOPES_SINCE} is needed"
    if level == "L3" and bubblewrap.program() is None:
        return "bubblewrap (bwrap) is not installed"
    return None


def _targets(stack: ExitStack) -> tuple[dict[str, Any], int]:
    """A victim of the same user: a process with a secret, a file, a listener, two sockets."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobyard-selftest-")))
    neighbour = folder / "neighbour"
    neighbour.mkdir(mode=0o700)
    (neighbour / "secret").write_text("a secret")
    victim = subprocess.Popen(["/bin/sleep", "60"], env={"SECRET": "s"}, start_new_session=True)
    stack.callback(victim.wait)
    stack.callback(victim.kill)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    addresses = {"path_socket": str(folder / "socket"), "abstract_socket": f"\0jobyard-{os.getpid()}"}
    for address in addresses.values():
        server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        server.bind(address)
        server.listen()
    kind = machine()
    calls = ("io_uring_setup", "bpf", "keyctl")
    targets = {
        "folder": str(folder),
        "neighbour": str(neighbour),
        "secret": str(neighbour / "secret"),
        "victim": victim.pid,
        "control": os.getpid(),
        "port": listener.getsockname()[1],
        "memory_bytes": _LIMITS.memory_bytes,
        "file_bytes": _LIMITS.file_bytes,
        "forks": FORKS,
        "syscalls": {name: number(name, kind) for name in calls} if kind else {},
        "environment": ["PATH", "HOME", "TMPDIR"],
        **addresses,
    }
    return targets, victim.pid


def _attacked(level: str, targets: Mapping[str, Any], victim: int) -> list[str]:
    work_dir = Path(targets["folder"], f"work-{level}")
    work_dir.mkdir(mode=0o700)
    levels = TRIED[: TRIED.index(level) + 1]
    argv = [sys.executable, "-I", "-S", _PROBE, json.dumps({**targets, "levels": levels})]
    policy = Policy(level=level, work_dir=str(work_dir), read=(str(Path(_PROBE).parent),), limits=_LIMITS)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(work_dir), "TMPDIR": str(work_dir)}
    ours, theirs = os.pipe()
    try:
        try:
            spawn = bubblewrap.spawn if level == "L3" else jail.spawn
            spawn(argv, policy=policy, env=env, descriptors=Descriptors(out=theirs, err=theirs))
        finally:
            os.close(theirs)
        text = _read_report(ours)
    except (OSError, jail.CannotConfine) as error:
        return [f"the attacker could not be started: {error}"]
    finally:
        os.close(ours)
        survivors = trees.sweep([victim])
    try:
        report = json.loads(text.splitlines()[0])
    except (ValueError, IndexError):
        return [f"the attacker gave no report: {text.decode(errors='replace')[-500:]}"]
    return judged(report, survivors=len(survivors))


def _read_report(descriptor: int) -> bytes:
    """The attacker's first line. Its end is not waited for: something of it may live on and hold the pipe."""
    text = b""
    deadline = time.monotonic() + PROBE_S
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while time.monotonic() < deadline and not text.endswith(b"}\n"):
            if selector.select(deadline - time.monotonic()):
                piece = os.read(descriptor, 65536)
                if not piece:
                    break
                text += piece
    return text


if __name__ == "__main__":
    print(json.dumps(attack_all()))
