"""Users that exist for tools alone: an attempt with a user of its own is counted, kept apart and ended by the kernel.

    executor is root ─► a guardian leases a block of user ids ─► one for each attempt, in turn, one for nobody

The kernel keeps RLIMIT_NPROC for every user but root, and counts it per user: with a user of its own, a fork bomb ends
at its own limit and takes nothing from its neighbours. Neighbours cannot be signalled, and their files not read. Ids
come from a range that nothing else uses; they need no entry in /etc/passwd. A lease is a lock that ends with its
process, so executors of one machine never share a block. An id comes round again after 255 attempts of its slot.

The first id of a block, the keeper's, belongs to no tool. Who ends a user takes the keeper's real and the victim's
effective id: then nothing can be signalled but the victim, and nothing of the victim can signal back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobyard_executor.sandbox.kernel import KernelRefused, call, is_powerless

BLOCK = 256
LOCKS = Path("/run/jobyard-users")
NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}
"""Capabilities without which root cannot lend users; containers take some away."""


class NoUsers(Exception):
    """Tools cannot have users of their own here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class User:
    """The user of one attempt; its group has the same number."""

    uid: int
    keeper: int


class Lease:
    """A block of ids that belongs to this process until it ends."""

    def __init__(self, first: int, lock: int) -> None:
        self.keeper = first
        self._lock = lock
        self._turn = 0

    def next(self) -> User:
        """A user that no attempt of this block had for the longest time."""
        self._turn = self._turn % (BLOCK - 1) + 1
        return User(uid=self.keeper + self._turn, keeper=self.keeper)

    def end(self) -> None:
        os.close(self._lock)


def read_ids(text: str) -> tuple[int, int]:
    """The first id and the count of a range such as `200000-265535`; no range: none. Raises ValueError."""
    if not text.strip():
        return (0, 0)
    first, _, last = (part.strip() for part in text.partition("-"))
    if not first.isdecimal() or not last.isdecimal():
        raise ValueError(f"{text!r} is no range of user ids such as 200000-265535")
    count = int(last) - int(first) + 1
    if int(first) < 1000 or int(last) >= 2**32 - 1 or count < BLOCK:
        raise ValueError(f"the range of user ids begins at 1000 or above and has at least {BLOCK} of them")
    return int(first), count


def lease(first: int, count: int) -> Lease:
    """A block out of `count` ids from `first` on that no other process of this machine has. Raises NoUsers."""
    _require_root()
    taken = _ids_in_use()
    blocks = count // BLOCK
    start = _hash_of_host() % blocks if blocks else 0
    for position in range(blocks):
        block = first + (start + position) % blocks * BLOCK
        if any(block <= uid < block + BLOCK for uid in taken):
            continue
        lock = _locked(block)
        if lock is not None:
            return Lease(block, lock)
    raise NoUsers(f"no {BLOCK} user ids are free among {count:,} from {first:,} on")


def become(user: User) -> None:
    """Make the calling thread, and what it starts, that user for good. Raises KernelRefused."""
    call("setgroups", ctypes.c_size_t(0), None)
    call("setresgid", *[ctypes.c_uint32(user.uid)] * 3)
    call("setresuid", *[ctypes.c_uint32(user.uid)] * 3)
    if not is_powerless():
        raise KernelRefused(1, "capabilities outlived the change of user")


def kill_all(user: User) -> None:
    """SIGKILL for every process of the user, in one step that no fork escapes. Raises KernelRefused."""

    def strike() -> None:
        call("setgroups", ctypes.c_size_t(0), None)
        call("setresgid", *[ctypes.c_uint32(user.keeper)] * 3)
        keeper, victim = ctypes.c_uint32(user.keeper), ctypes.c_uint32(user.uid)
        call("setresuid", keeper, victim, keeper)
        if not is_powerless() or 0 in os.getresuid():
            raise KernelRefused(1, "the one who ends a user would be able to end others")
        _kill_everybody()

    apart(strike)


def apart(act: Callable[[], None]) -> None:
    """Run it on a thread of its own, whose users and capabilities end with it. Raises what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="apart")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def give(work_dir: str, uid: int) -> None:
    """Hand a work dir that no tool has touched yet, with all in it, to a user."""
    waiting = [work_dir]
    while waiting:
        folder = waiting.pop()
        os.chown(folder, uid, uid, follow_symlinks=False)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    os.chown(entry.path, uid, uid, follow_symlinks=False)


def take_back(work_dir: str) -> None:
    """Shut a work dir for its former user: whoever has the id next finds nothing."""
    with suppress(OSError):
        os.chown(work_dir, os.geteuid(), os.getegid(), follow_symlinks=False)
        Path(work_dir).chmod(stat.S_IRWXU)


def _hash_of_host() -> int:
    """Containers of one machine share user ids but not their name: each starts to look at a place of its own."""
    value = 0
    for byte in os.uname().nodename.encode():
        value = (value * 31 + byte) & 0xFFFFFFFF
    return value


def _kill_everybody() -> None:
    try:
        call("kill", ctypes.c_int(-1), ctypes.c_int(signal.SIGKILL))
    except KernelRefused as error:
        if error.errno != errno.ESRCH:
            raise


def _require_root() -> None:
    if os.geteuid() != 0:
        raise NoUsers("the executor does not run as root")
    held = 0
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                held = int(line.split()[1], 16)
    missing = [name for name, bit in NEEDED.items() if not held >> bit & 1]
    if missing:
        raise NoUsers(f"root has no capability {', '.join(missing)} here")


def _ids_in_use() -> set[int]:
    """Users of the processes of this machine."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                found.add(entry.stat().st_uid)
    return found


def _locked(block: int) -> int | None:
    """The lock of a block, None when somebody has it. Raises NoUsers."""
    try:
        LOCKS.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(LOCKS / str(block), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoUsers(f"no lock can be kept in {LOCKS}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
