"""Landlock: which files a tool may read or write, no TCP, and signals that stay inside its own tree."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

from jobyard_executor.sandbox.kernel import KernelRefused, call

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_DEVICES = (1 << 6) | (1 << 11)
_FIRST = (1 << 13) - 1
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_NET = 0b11
_SCOPES = 0b11
_PATH_BENEATH = 1

SCOPES_SINCE = 6
"""The first interface version that keeps signals and abstract sockets inside; L2 needs it."""


def version() -> int:
    """The kernel's Landlock interface, 0 where there is none."""
    try:
        return call("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except KernelRefused:
        return 0


def restrict(*, read: Sequence[str], write: Sequence[str], devices: Sequence[str], interface: int) -> None:
    """Confine the calling thread and all that it starts. Paths that do not exist are left out. Raises KernelRefused."""
    handled = _handled(interface)
    attributes = struct.pack("=QQQ", handled, _NET if interface >= 4 else 0, _SCOPES if interface >= 6 else 0)
    size = 24 if interface >= 6 else 16 if interface >= 4 else 8
    ruleset = call(
        "landlock_create_ruleset",
        ctypes.create_string_buffer(attributes, 24),
        ctypes.c_size_t(size),
        ctypes.c_uint32(0),
    )
    try:
        for path in read:
            _grant(ruleset, path, _READING & handled)
        for path in write:
            _grant(ruleset, path, handled & ~_DEVICES & ~_IOCTL_DEVICE)
        for path in devices:
            _grant(ruleset, path, (_READ_FILE | _WRITE_FILE) & handled)
        call("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _handled(interface: int) -> int:
    rights = _FIRST
    if interface >= 2:
        rights |= _REFER
    if interface >= 3:
        rights |= _TRUNCATE
    if interface >= 5:
        rights |= _IOCTL_DEVICE
    return rights


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        call("landlock_add_rule", ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)
