"""The `Range` header (RFC 9110, 14): one range of bytes, or the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """Bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Unsatisfiable:
    """A well-formed range that lies outside of the content."""


def asked_range(header: str | None, *, size: int) -> ByteRange | Unsatisfiable | None:
    """The range to send; None for the whole content, which also answers what is malformed or has several ranges."""
    if header is None:
        return None
    found = _SINGLE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        wanted = int(found[2])
        return ByteRange(max(0, size - wanted), size - 1) if wanted and size else Unsatisfiable()
    first = int(found[1])
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        return Unsatisfiable()
    return ByteRange(first, min(int(found[2]), size - 1) if found[2] else size - 1)


def tag_matches(header: str | None, etag: str, *, weak: bool) -> bool:
    """Whether an `If-None-Match` (weak comparison) or `If-Range` (strong) names `etag`."""
    if header is None:
        return False
    if header.strip() == "*":
        return weak
    for candidate in header.split(","):
        text = candidate.strip()
        if text.startswith("W/"):
            if not weak:
                continue
            text = text[2:]
        if text == etag:
            return True
    return False
