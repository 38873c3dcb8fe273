"""Show a text in this process's arguments (`ps`, /proc/self/cmdline) for a while, without starting another program.

The kernel shows the memory between arg_start and arg_end. Where the text fits there, it is written over the end of
the arguments; else the two addresses are pointed to a buffer of our own by PR_SET_MM_MAP, which needs no privilege.
Both are undone at the end. Where there is no /proc, nothing happens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PR_SET_MM = 35
PR_SET_MM_MAP = 14
STAT = Path("/proc/self/stat")


class _MemoryMap(ctypes.Structure):
    """`struct prctl_mm_map` of the Linux headers."""

    _fields_ = (
        ("start_code", ctypes.c_uint64),
        ("end_code", ctypes.c_uint64),
        ("start_data", ctypes.c_uint64),
        ("end_data", ctypes.c_uint64),
        ("start_brk", ctypes.c_uint64),
        ("brk", ctypes.c_uint64),
        ("start_stack", ctypes.c_uint64),
        ("arg_start", ctypes.c_uint64),
        ("arg_end", ctypes.c_uint64),
        ("env_start", ctypes.c_uint64),
        ("env_end", ctypes.c_uint64),
        ("auxv", ctypes.c_uint64),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )


@contextmanager
def carrying(text: str) -> Iterator[None]:
    """Carry `text` in this process's arguments while the block runs; an empty text changes nothing."""
    memory = _memory() if text else None
    if memory is None:
        yield
        return
    size = memory.arg_end - memory.arg_start
    before = ctypes.string_at(memory.arg_start, size)
    mark = b"\0" + text.encode() + b"\0"
    if len(mark) < size:
        ctypes.memmove(memory.arg_start, before[: size - len(mark)] + mark, size)
        try:
            yield
        finally:
            ctypes.memmove(memory.arg_start, before, size)
        return
    shown = before.rstrip(b"\0") + mark
    buffer = ctypes.create_string_buffer(shown, len(shown))
    _show(memory, ctypes.addressof(buffer), len(shown))
    try:
        yield
    finally:
        _show(memory, memory.arg_start, size)


def _memory() -> _MemoryMap | None:
    try:
        text = STAT.read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    number = {name: int(fields[position - 3]) for name, position in _POSITIONS.items()}
    return _MemoryMap(**number, exe_fd=0xFFFFFFFF) if number["arg_start"] else None


# As counted in proc(5).
_POSITIONS = {
    "start_code": 26,
    "end_code": 27,
    "start_stack": 28,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "arg_start": 48,
    "arg_end": 49,
    "env_start": 50,
    "env_end": 51,
}


def _show(memory: _MemoryMap, start: int, size: int) -> None:
    """Point the kernel's view of our arguments to `start`. Raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sbrk.restype = ctypes.c_void_p
    wanted = _MemoryMap.from_buffer_copy(memory)
    wanted.arg_start, wanted.arg_end = start, start + size
    wanted.brk = libc.sbrk(0)
    if libc.prctl(PR_SET_MM, PR_SET_MM_MAP, ctypes.byref(wanted), ctypes.c_ulong(ctypes.sizeof(wanted)), 0):
        number = ctypes.get_errno()
        raise OSError(number, "the kernel does not let this process change its arguments")
