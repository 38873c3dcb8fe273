"""The system call filter of L2: everything is allowed but what reaches other processes, the network, or the kernel's
rarely used and often broken parts."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence

from jobyard_executor.sandbox.kernel import AUDIT_ARCH, Machine, call, number

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000

REFUSED: Sequence[str] = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "personality",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd",
    "add_key", "request_key", "keyctl",
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "swapon", "swapoff", "unshare", "setns",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "mknod", "mknodat", "name_to_handle_at", "open_by_handle_at", "mbind", "set_mempolicy", "migrate_pages",
    "move_pages", "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop",
    "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
    "setpriority", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr", "ioprio_set",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "acct", "quotactl", "reboot", "sethostname",
    "setdomainname", "syslog", "vhangup", "fanotify_init", "lookup_dcookie", "modify_ldt", "iopl", "ioperm",
)  # fmt: skip
"""Answered with EPERM whatever their arguments."""

NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_X32_BIT = 0x40000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_INET, _AF_INET6 = 2, 10

_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24

Instruction = tuple[int, int, int, int]


def refuse(code: int) -> int:
    return _ERRNO | code


def program(kind: Machine, *, network: bool = False) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, operand); pure, so both machines are tested on either."""
    lines: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, AUDIT_ARCH[kind]),
        (_RET, 0, 0, KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if kind is Machine.X86_64:
        lines += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, KILL)]
    lines += _answer(kind, "clone3", refuse(errno.ENOSYS))
    for name in REFUSED:
        lines += _answer(kind, name, refuse(errno.EPERM))
    lines += _on_argument(kind, "clone", _ARG0, [(_JSET, NAMESPACE_FLAGS)], refuse(errno.EPERM))
    lines += _on_argument(kind, "ioctl", _ARG1, [(_JEQ, _TIOCSTI), (_JEQ, _TIOCLINUX)], refuse(errno.EPERM))
    lines += _unless_argument(kind, "prlimit64", _ARG0, [0], refuse(errno.EPERM))
    families = [_AF_INET, _AF_INET6] if network else []
    lines += _unless_argument(kind, "socket", _ARG0, families, refuse(errno.EAFNOSUPPORT))
    return [*lines, (_RET, 0, 0, ALLOW)]


def install(kind: Machine, *, network: bool = False) -> None:
    """Filter the calling thread and all that it starts; needs no_new_privs. Raises KernelRefused."""
    code = encode(program(kind, network=network))
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(header, len(header))
    call("seccomp", ctypes.c_ulong(1), ctypes.c_ulong(0), holder)


def encode(lines: Sequence[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _answer(kind: Machine, name: str, action: int) -> list[Instruction]:
    value = number(name, kind)
    return [] if value is None else [(_JEQ, 0, 1, value), (_RET, 0, 0, action)]


def _on_argument(
    kind: Machine, name: str, offset: int, tests: Sequence[tuple[int, int]], action: int
) -> list[Instruction]:
    """`action` when any test holds for the argument's low half, else allowed."""
    body: list[Instruction] = [(_LOAD, 0, 0, offset)]
    for code, operand in tests:
        body += [(code, 0, 1, operand), (_RET, 0, 0, action)]
    return _guarded(kind, name, [*body, (_RET, 0, 0, ALLOW)])


def _unless_argument(kind: Machine, name: str, offset: int, allowed: Sequence[int], action: int) -> list[Instruction]:
    """`action` unless the argument's low half is one of `allowed`."""
    body: list[Instruction] = [(_LOAD, 0, 0, offset)]
    for operand in allowed:
        body += [(_JEQ, 0, 1, operand), (_RET, 0, 0, ALLOW)]
    return _guarded(kind, name, [*body, (_RET, 0, 0, action)])


def _guarded(kind: Machine, name: str, body: list[Instruction]) -> list[Instruction]:
    value = number(name, kind)
    return [] if value is None else [(_JEQ, 0, len(body), value), *body]
