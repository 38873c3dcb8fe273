"""The headers of tus 1.0.0, read strictly: what is not exactly right is refused with a reason.

Nothing here trusts `int()`: it takes signs, spaces, underscores and digits of any script.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from jobyard_files.domain.refusals import Refusal, Refused

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum"
CHECKSUMS = ("sha1", "sha256", "md5")
OCTETS = "application/offset+octet-stream"
MAX_METADATA_BYTES = 8192
MAX_METADATA_KEYS = 32
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Checksum:
    algorithm: str
    digest: bytes


def malformed(detail: str) -> Refused:
    return Refused(Refusal.MALFORMED_HEADER, detail)


def number(name: str, text: str) -> int:
    """A non-negative integer of ASCII digits; values past 64 bits come back as the largest one.

    Raises:
        Refused: for anything else.
    """
    if _DIGITS.fullmatch(text) is None:
        raise malformed(f"{name} must be a whole number of bytes, 0 or more.")
    return min(int(text), _LARGEST) if len(text) <= 19 else _LARGEST


def length_of(length: str | None, defer: str | None, *, max_size: int) -> int | None:
    """The declared length of a new upload in bytes, None if it is deferred.

    Raises:
        Refused: both, neither, malformed, or above `max_size`.
    """
    if (length is None) == (defer is None):
        raise malformed("Send either Upload-Length or Upload-Defer-Length: 1.")
    if length is None:
        if defer != "1":
            raise malformed("Upload-Defer-Length must be 1.")
        return None
    return within(number("Upload-Length", length), max_size=max_size)


def within(size: int, *, max_size: int) -> int:
    if size > max_size:
        raise Refused(
            Refusal.TOO_LARGE,
            f"A file may have at most {max_size} bytes.",
            headers={"Tus-Max-Size": str(max_size)},
        )
    return size


def metadata(header: str | None) -> dict[str, str]:
    """`Upload-Metadata` as text by key; values that are not UTF-8 have their bad bytes replaced.

    Raises:
        Refused: not base64, a key twice, an empty key, more than 8 KiB or 32 keys.
    """
    if not header or not header.strip():
        return {}
    if len(header) > MAX_METADATA_BYTES:
        raise malformed(f"Upload-Metadata may have at most {MAX_METADATA_BYTES} bytes.")
    pairs = header.split(",")
    if len(pairs) > MAX_METADATA_KEYS:
        raise malformed(f"Upload-Metadata may have at most {MAX_METADATA_KEYS} keys.")
    found: dict[str, str] = {}
    for pair in pairs:
        key, _, encoded = pair.strip().partition(" ")
        if not key or not key.isascii() or not key.isprintable():
            raise malformed("Upload-Metadata has a key that is empty or not plain ASCII.")
        if key in found:
            raise malformed(f"Upload-Metadata has the key {key[:64]} twice.")
        found[key] = _decoded(key, encoded.strip()).decode("utf-8", "replace")
    return found


def _decoded(key: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise malformed(f"The value of {key[:64]} in Upload-Metadata is not base64.") from None


def checksum(header: str | None) -> Checksum | None:
    """`Upload-Checksum` of a chunk.

    Raises:
        Refused: an algorithm that is not offered, or a digest that is not base64.
    """
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        raise malformed(f"Upload-Checksum must use one of {', '.join(CHECKSUMS)}.")
    try:
        return Checksum(algorithm, base64.b64decode(encoded.strip(), validate=True))
    except (binascii.Error, ValueError):
        raise malformed("The digest in Upload-Checksum is not base64.") from None
