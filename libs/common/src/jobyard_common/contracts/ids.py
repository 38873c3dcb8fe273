"""Identifiers: a prefix, two characters of cell, 26 Crockford base-32 characters (128 bits).

Unkeyed ids are 48 bits of milliseconds and 80 random bits, so they sort by age and begin with `0`. Keyed ids are an
HMAC whose first character is `7`: the same input makes the same id anywhere, which is what makes a retry harmless.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from functools import lru_cache

from jobyard_common.contracts.entropy import random_bytes

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEYED_FIRST = "7"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_BODY = f"[{ALPHABET}]"
MOST_IN_SERIES = 4_096
_SERIES_BITS = 1 << 30


def new_id(prefix: str, *, cell: str = "00", now_ms: int | None = None) -> str:
    """A new unkeyed id such as `job_00` + 26 characters."""
    stamp = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    value = (stamp << 80) | int.from_bytes(random_bytes(10), "big")
    return f"{prefix}_{cell}{_crockford(value)}"


def new_series(count: int, *, cell: str = "00", now_ms: int | None = None) -> list[str]:
    """The texts after the prefix of `count` new unkeyed ids, at most 4,096, in ascending order.

    They share the time and 50 random bits, which are a series' own, and differ in the last 30.
    """
    if not 0 < count <= MOST_IN_SERIES:
        raise ValueError(f"a series has 1 to {MOST_IN_SERIES} ids")
    first = new_id("", cell=cell, now_ms=now_ms)[1:]
    stem, pairs = first[:-6], _PAIRS
    # Any of the first 2^18 places: no step from there passes the last one.
    at = int.from_bytes(random_bytes(3), "big") & 0x3FFFF
    step = _SERIES_BITS // MOST_IN_SERIES - 64
    return [
        f"{stem}{pairs[place >> 20]}{pairs[place >> 10 & 1023]}{pairs[place & 1023]}"
        for place in range(at, at + count * step, step)
    ]


def keyed_id(
    prefix: str, secret: bytes, *, tenant: str, operation: str, target: str = "", key: str, cell: str = "00"
) -> str:
    """The id that this (tenant, operation, target, key) always has under `secret`."""
    digest = hmac.new(secret, _length_prefixed("v1", tenant, operation, target, key), hashlib.sha256).digest()
    return f"{prefix}_{cell}{KEYED_FIRST}{_crockford(int.from_bytes(digest[:16], 'big'))[1:]}"


def is_keyed(text: str) -> bool:
    """Whether a well-formed id was derived from a key."""
    return text[-26] == KEYED_FIRST


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the form of an id with this prefix; says nothing about its existence."""
    return _pattern(prefix).fullmatch(text) is not None


@lru_cache(maxsize=64)
def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(f"{prefix}_[{ALPHABET}]{{2}}[0-7]{_BODY}{{25}}")


def _crockford(value: int) -> str:
    pairs, low, middle, high = _PAIRS, value & 0xFFFFFFFFFF, value >> 40 & 0xFFFFFFFFFF, value >> 80
    return (
        f"{pairs[high >> 40]}{pairs[high >> 30 & 1023]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}{pairs[middle >> 30]}{pairs[middle >> 20 & 1023]}{pairs[middle >> 10 & 1023]}"
        f"{pairs[middle & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def _length_prefixed(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
