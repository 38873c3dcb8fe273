"""Headers as the outbox stores them: MessagePack, an array of pairs of a name and bytes.

Whoever writes the same headers for a whole batch packs what they share once; the bytes are the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jobyard_common.contracts.envelope import Headers

MOST_JOINED = 15
_encode = msgspec.msgpack.Encoder().encode
_SHORT = tuple(b"\xc4" + bytes((size,)) for size in range(256))


def pack_headers(headers: Headers) -> bytes:
    return _encode(headers)


def pack_name(name: str) -> bytes:
    """What stands before the value of a header of this name."""
    return b"\x92" + _encode(name)


def pack_value(value: bytes) -> bytes:
    return _SHORT[len(value)] + value if len(value) < len(_SHORT) else _encode(value)


def pack_header(name: str, value: bytes) -> bytes:
    return pack_name(name) + pack_value(value)


def join_packed(count: int, parts: Sequence[bytes]) -> bytes:
    """The array of `count` headers (at most 15), whose packed texts `parts` are together."""
    return bytes((0x90 | count,)) + b"".join(parts)
