"""Random bytes for ids, drawn from the kernel a few thousand at a time: a system call an id costs more than the id.

A forked child throws its parent's stock away, so no two processes ever use the same bytes. For secrets use `secrets`.
"""

from __future__ import annotations

import os

STOCK = 8_192


class _Stock:
    def __init__(self) -> None:
        self.bytes = b""
        self.at = 0


_stock = _Stock()


def random_bytes(count: int) -> bytes:
    """`count` bytes, at most 64, that nobody else gets."""
    begin = _stock.at
    end = begin + count
    if end > len(_stock.bytes):
        _stock.bytes = os.urandom(STOCK)
        begin, end = 0, count
    _stock.at = end
    return _stock.bytes[begin:end]


def random_hex(count: int) -> str:
    """The same as `count * 2` lower-case hexadecimal characters."""
    return random_bytes(count).hex()


def _forget() -> None:
    _stock.bytes, _stock.at = b"", 0


os.register_at_fork(after_in_child=_forget)
