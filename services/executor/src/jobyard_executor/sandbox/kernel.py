"""The few system calls that Python has no words for; numbers for x86_64 and aarch64 from one list."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class KernelRefused(OSError):
    """The kernel refused a step of the confinement; the tool must not start."""


class Machine(StrEnum):
    X86_64 = "x86_64"
    AARCH64 = "aarch64"


AUDIT_ARCH: Mapping[Machine, int] = MappingProxyType({Machine.X86_64: 0xC000003E, Machine.AARCH64: 0xC00000B7})

_NUMBERS: Mapping[str, tuple[int | None, int | None]] = MappingProxyType(
    {
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "process_madvise": (440, 440),
        "kcmp": (312, 272),
        "pidfd_getfd": (438, 438),
        "personality": (135, 92),
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "open_tree": (428, 428),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "unshare": (272, 97),
        "setns": (308, 268),
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "mknod": (133, None),
        "mknodat": (259, 33),
        "name_to_handle_at": (303, 264),
        "open_by_handle_at": (304, 265),
        "mbind": (237, 235),
        "set_mempolicy": (238, 237),
        "migrate_pages": (256, 238),
        "move_pages": (279, 239),
        "shmget": (29, 194),
        "shmat": (30, 196),
        "shmctl": (31, 195),
        "shmdt": (67, 197),
        "semget": (64, 190),
        "semop": (65, 193),
        "semctl": (66, 191),
        "semtimedop": (220, 192),
        "msgget": (68, 186),
        "msgsnd": (69, 189),
        "msgrcv": (70, 188),
        "msgctl": (71, 187),
        "mq_open": (240, 180),
        "mq_unlink": (241, 181),
        "setpriority": (141, 140),
        "sched_setparam": (142, 118),
        "sched_setscheduler": (144, 119),
        "sched_setaffinity": (203, 122),
        "sched_setattr": (314, 274),
        "ioprio_set": (251, 30),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "clock_adjtime": (305, 266),
        "adjtimex": (159, 171),
        "acct": (163, 89),
        "quotactl": (179, 60),
        "reboot": (169, 142),
        "sethostname": (170, 161),
        "setdomainname": (171, 162),
        "syslog": (103, 116),
        "vhangup": (153, 58),
        "fanotify_init": (300, 262),
        "lookup_dcookie": (212, 18),
        "modify_ldt": (154, None),
        "iopl": (172, None),
        "ioperm": (173, None),
        "socket": (41, 198),
        "clone": (56, 220),
        "clone3": (435, 435),
        "ioctl": (16, 29),
        "prlimit64": (302, 261),
        "capget": (125, 90),
        "capset": (126, 91),
        "setgroups": (116, 159),
        "setresgid": (119, 149),
        "setresuid": (117, 147),
        "kill": (62, 129),
        "seccomp": (317, 277),
        "landlock_create_ruleset": (444, 444),
        "landlock_add_rule": (445, 445),
        "landlock_restrict_self": (446, 446),
    }
)

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECBITS_NO_ROOT_LOCKED = 0b1111
"""NOROOT and NO_SETUID_FIXUP, both locked: user 0 is then a user like any other, also after exec."""

_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def machine() -> Machine | None:
    """The machine's kind, None where the confinement has no table for it."""
    try:
        return Machine(platform.machine())
    except ValueError:
        return None


def number(name: str, kind: Machine) -> int | None:
    """The number of a system call, None where this machine has none by that name. Raises KeyError for a typo."""
    x86, arm = _NUMBERS[name]
    return x86 if kind is Machine.X86_64 else arm


def known() -> frozenset[str]:
    return frozenset(_NUMBERS)


def call(name: str, *arguments: object) -> int:
    """A raw system call, which acts on the calling thread only. Raises KernelRefused."""
    kind = machine()
    value = number(name, kind) if kind else None
    if value is None:
        raise KernelRefused(38, f"{name} is not known on this machine")
    result = int(_libc.syscall(ctypes.c_long(value), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise KernelRefused(code, f"{name}: {os.strerror(code)}")
    return result


def prctl(option: int, argument: int = 0, *, second: int = 0) -> None:
    """Raises KernelRefused."""
    values = [ctypes.c_ulong(value) for value in (argument, second, 0, 0)]
    if _libc.prctl(ctypes.c_int(option), *values) != 0:
        code = ctypes.get_errno()
        raise KernelRefused(code, f"prctl {option}: {os.strerror(code)}")


def no_new_privileges() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def become_subreaper() -> None:
    """Orphans below this process become its children, whatever sessions they made."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that made it ends."""
    prctl(PR_SET_PDEATHSIG, 9)


def drop_capabilities() -> None:
    """Leave the calling thread, and all that it starts, without capabilities; user 0 then owns its files, no more."""
    prctl(PR_SET_SECUREBITS, SECBITS_NO_ROOT_LOCKED)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    call("capset", ctypes.byref(header), ctypes.byref(none))


def is_powerless() -> bool:
    """Whether the calling thread has no capability, effective or permitted. Raises KernelRefused."""
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    found = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    call("capget", ctypes.byref(header), ctypes.byref(found))
    effective_and_permitted = (found[0], found[1], found[3], found[4])
    return not any(effective_and_permitted)


def flush_c_streams() -> None:
    """Write out what C libraries buffered for stdout and stderr."""
    _libc.fflush(None)
