"""API keys: `jy_<8 id>_<32 secret><6 check>`, all base62. The check digits refuse typing errors without a look-up."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from typing import NamedTuple

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
PATTERN = re.compile(r"jy_([0-9A-Za-z]{8})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")
LENGTH = 3 + 8 + 1 + 32 + 6


class NewKey(NamedTuple):
    """`id` may be shown anywhere; `text` is shown once and never stored."""

    id: str
    text: str


def mint() -> NewKey:
    key_id, secret = _random(8), _random(32)
    return NewKey(key_id, f"jy_{key_id}_{secret}{_check(key_id, secret)}")


def id_of(text: str) -> str | None:
    """The id in a well-formed key whose check digits are right, else None."""
    if len(text) != LENGTH:
        return None
    found = PATTERN.fullmatch(text)
    if found is None or found[3] != _check(found[1], found[2]):
        return None
    return found[1]


def digest(text: str, *, pepper: bytes) -> bytes:
    """What the store keeps instead of the key."""
    return hmac.new(pepper, text.encode(), hashlib.sha256).digest()


def matches(text: str, stored: bytes, *, pepper: bytes) -> bool:
    return hmac.compare_digest(digest(text, pepper=pepper), stored)


def _random(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))


def _check(key_id: str, secret: str) -> str:
    value = zlib.crc32(f"{key_id}{secret}".encode())
    characters = []
    for _ in range(6):
        value, digit = divmod(value, 62)
        characters.append(BASE62[digit])
    return "".join(reversed(characters))
