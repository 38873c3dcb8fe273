"""The attacks of the self-test: a victim, and at each level an attacker that must be refused everything.

`python -m jobyard_executor.sandbox.attacks <first user id> <count> <control group>` prints what speaks against each
level, as JSON; a process of its own, because it is a subreaper and kills all that is left below it.
"""

from __future__ import annotations

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
from pathlib import Path
from typing import Any

from jobyard_executor.sandbox import bubblewrap, cgroups, jail, landlock, reach, users
from jobyard_executor.sandbox.cgroups import Group, NoGroups, name_of
from jobyard_executor.sandbox.jail import Descriptors, Limits, Policy
from jobyard_executor.sandbox.kernel import become_subreaper, machine, number
from jobyard_executor.worker import trees

TRIED = ("L1", "L2", "L3", "L4")
PROBE_S = 8.0
END_S = 5.0
FORKS = 40
GROUP_BYTES = 96 * 2**20
COUNTED_BY_GUARDIAN = "fork bomb:"
ATTACKS = {"L1": ("L1",), "L2": ("L1", "neighbours", "L2"), "L3": ("L1", "neighbours", "L2", "L3")}
"""What each level has to refuse; a user of its own refuses the attacks on neighbours at every level."""
ATTACKS["L4"] = ATTACKS["L3"]
_LIMITS = Limits(
    memory_bytes=512 * 2**20,
    file_bytes=2**20,
    headroom=FORKS // 2,
    processes=FORKS // 2 // jail.TASKS_PER_PROCESS,
)
_PROBE = str(Path(__file__).with_name("probe.py"))
_HOARD = """
import os, signal, sys
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(b"x") * int(sys.argv[1])
        signal.pause()
signal.pause()
"""


def own_user(level: str) -> str:
    """The name under which faults of a level with users of its own are told."""
    return f"{level} with users of its own"


def attack_all(ids: tuple[int, int] = (0, 0), cgroup: str = "") -> dict[str, list[str]]:
    """Every level with what speaks against it; for the self-test's own process, which is single-threaded."""
    become_subreaper()
    faults: dict[str, list[str]] = {}
    with ExitStack() as stack:
        targets, victim = _targets(stack)
        targets["cgroup"] = cgroup
        for level in TRIED:
            reason = _impossible(level, cgroup)
            faults[level] = [reason] if reason else _attacked(level, targets, victim)
        faults |= _attacked_apart([level for level in TRIED if not faults[level]], targets, victim, ids)
    return faults


def _attacked_apart(
    levels: Sequence[str], targets: Mapping[str, Any], victim: int, ids: tuple[int, int]
) -> dict[str, list[str]]:
    """The levels that hold so far, attacked by users of their own."""
    if not ids[1]:
        return {}
    try:
        lease = users.lease(*ids)
    except users.NoUsers as error:
        return {own_user(level): [str(error)] for level in levels}
    with suppress(OSError):
        reach.open_up([targets["folder"], *jail.interpreter(), str(Path(_PROBE).parent)])
    try:
        return {own_user(level): _attacked(level, targets, victim, lease.next()) for level in levels}
    except OSError as error:
        return {own_user(level): [str(error)] for level in levels}
    finally:
        lease.end()


def _impossible(level: str, cgroup: str) -> str | None:
    if machine() is None:
        return f"no confinement is known for machines of kind {os.uname().machine}"
    if level in ("L1", "L2") and jail.prlimit_program() is None:
        return "the program prlimit (util-linux) is not installed"
    if level == "L2" and landlock.version() < landlock.SCOPES_SINCE:
        return f"the kernel's Landlock interface is {landlock.version()}, {landlock.SCOPES_SINCE} is needed"
    if level in ("L3", "L4") and bubblewrap.program() is None:
        return "bubblewrap (bwrap) is not installed"
    if level == "L4":
        try:
            cgroups.prepare(cgroup)
        except NoGroups as error:
            return str(error)
    return None


def _targets(stack: ExitStack) -> tuple[dict[str, Any], int]:
    """A victim of the same user: a process with a secret, a file, a listener, two sockets."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobyard-selftest-")))
    folder.chmod(0o711)
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


def _attacked(level: str, targets: Mapping[str, Any], victim: int, user: users.User | None = None) -> list[str]:
    if level != "L4":
        return _probed(level, targets, victim, user=user)
    try:
        group = _group(targets["cgroup"], 1)
        faults = _probed(level, targets, victim, user=user, group=group)
        group.remove()
        return faults or _hoarded(targets, victim, user)
    except NoGroups as error:
        return [str(error)]


def _group(root: str, number: int) -> Group:
    return Group(root, name_of(number), memory_bytes=GROUP_BYTES, tasks=FORKS // 2)


def _probed(
    level: str,
    targets: Mapping[str, Any],
    victim: int,
    *,
    user: users.User | None = None,
    group: Group | None = None,
) -> list[str]:
    attacks = [*ATTACKS[level], *(("neighbours", "own user") if user else ())]
    argv = [sys.executable, "-I", "-S", _PROBE, json.dumps({**targets, "attacks": list(dict.fromkeys(attacks))})]
    ours, theirs = os.pipe()
    try:
        try:
            _spawn(argv, level=level, folder=targets["folder"], out=theirs, user=user, group=group)
        finally:
            os.close(theirs)
        text = _read_report(ours)
    except (OSError, jail.CannotConfine) as error:
        return [f"the attacker could not be started: {error}"]
    finally:
        os.close(ours)
        survivors = _ended(victim, user=user, group=group)
    try:
        report = json.loads(text.splitlines()[0])
    except (ValueError, IndexError):
        return [f"the attacker gave no report: {text.decode(errors='replace')[-500:]}"]
    return judged(report, survivors=len(survivors), counted=user is not None or group is not None)


def _hoarded(targets: Mapping[str, Any], victim: int, user: users.User | None) -> list[str]:
    """Processes that together take more than their group may have: the kernel has to end it and to say so."""
    group = _group(targets["cgroup"], 2)
    argv = [sys.executable, "-I", "-S", "-c", _HOARD, str(GROUP_BYTES // 2)]
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        _spawn(argv, level="L4", folder=targets["folder"], out=null, user=user, group=group)
        deadline = time.monotonic() + PROBE_S
        while not group.events().oom and time.monotonic() < deadline:
            time.sleep(0.01)
        return [] if group.events().oom else ["memory of several processes together: passed"]
    except (OSError, jail.CannotConfine) as error:
        return [f"the attacker could not be started: {error}"]
    finally:
        os.close(null)
        _ended(victim, user=user, group=group)
        group.remove()


def _spawn(
    argv: Sequence[str], *, level: str, folder: str, out: int, user: users.User | None, group: Group | None
) -> None:
    work_dir = tempfile.mkdtemp(prefix="work-", dir=folder)
    if user is not None:
        users.give(work_dir, user.uid)
    policy = Policy(
        level=level, work_dir=work_dir, read=(str(Path(_PROBE).parent),), limits=_LIMITS, user=user, group=group
    )
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": work_dir, "TMPDIR": work_dir}
    spawn = bubblewrap.spawn if level in ("L3", "L4") else jail.spawn
    spawn(argv, policy=policy, env=env, descriptors=Descriptors(out=out, err=out))


def _ended(victim: int, *, user: users.User | None, group: Group | None) -> list[int]:
    """Who was not ended by the one stroke that is to end them all, or, where there is none, by the sweep."""
    if user is None and group is None:
        return trees.sweep([victim])
    if group is not None:
        group.kill()
    elif user is not None:
        users.kill_all(user)
    deadline = time.monotonic() + END_S
    while (left := trees.living_below(os.getpid(), spare=[victim])) and time.monotonic() < deadline:
        time.sleep(0.005)
    trees.sweep([victim])
    return left


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


def judged(report: Mapping[str, Mapping[str, str]], *, survivors: int, counted: bool = False) -> list[str]:
    """What speaks against a level: attacks not refused, chores that fail, processes that no sweep ended."""
    faults = [f"{name}: {answer}" for name, answer in report["attacks"].items() if answer != "refused"]
    if not counted:
        # The kernel exempts root, inside user namespaces too, from RLIMIT_NPROC: the slot guardian counts every tree
        # itself and kills it above its limit, so this answer does not decide.
        faults = [fault for fault in faults if not fault.startswith(COUNTED_BY_GUARDIAN)]
    faults += [f"{name}: {answer}" for name, answer in report["chores"].items() if answer != "works"]
    if survivors:
        faults.append(f"{survivors} processes survived the sweep")
    return faults


if __name__ == "__main__":
    print(json.dumps(attack_all((int(sys.argv[1]), int(sys.argv[2])), sys.argv[3])))
