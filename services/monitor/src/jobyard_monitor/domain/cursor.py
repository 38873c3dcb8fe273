"""Where a page ended, as an opaque text. A cursor made by somebody else is refused, never guessed at."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

T = TypeVar("T")
MAX_LENGTH = 512


class CursorInvalid(ValueError):
    """The cursor is not one of ours; the list has to be read from its beginning."""


def pack(kind: str, *values: object) -> str:
    body = msgspec.json.encode([kind, *values])
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def unpack(text: str, kind: str, shape: type[T]) -> T:
    """`shape` is a tuple type whose first member is the kind.

    Raises:
        CursorInvalid: not made by `pack` for this kind of list.
    """
    if not text or len(text) > MAX_LENGTH:
        raise CursorInvalid
    try:
        body = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(body, type=shape)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError):
        raise CursorInvalid from None
    if not isinstance(found, tuple) or found[0] != kind:
        raise CursorInvalid
    return found
