"""JSON on the wire, and time as text.

msgspec, because it decodes and validates in one pass; `Raw` members keep what a user sent byte-true.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    # Raw in a union is decoded as if it were not there: only its default may be None, and such a member must be
    # left out, never written as null (`omit_defaults`).
    OptionalRaw = msgspec.Raw

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
_written: tuple[datetime | None, str] = (None, "")
_decoders: dict[object, msgspec.json.Decoder[object]] = {}


class WireError(ValueError):
    """A message that is not of the agreed shape; the text says where."""


def encode(value: object) -> bytes:
    return _encoder.encode(value)


def decode(kind: type[T], data: bytes) -> T:
    """Decode JSON into `kind`; unknown members are ignored.

    Raises:
        WireError: for anything that is not such a document, however broken.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(data)  # type: ignore[return-value]
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise WireError(str(error)[:500]) from None


def utc_now() -> datetime:
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`, as every time in the API is written."""
    global _written
    # The time of a command is written several times in a row.
    before = _written
    if before[0] is moment:
        return before[1]
    text = _rfc3339(moment)
    _written = (moment, text)
    return text


def _rfc3339(moment: datetime) -> str:
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:23] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Raises ValueError for anything but an RFC 3339 time with a zone."""
    if len(text) < 20 or text[10] not in "Tt " or not (text[-1] in "Zz" or text[-6] in "+-"):
        raise ValueError("not an RFC 3339 time with a zone")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside the calendar") from None


def milliseconds(moment: datetime) -> datetime:
    """`moment` cut to the resolution that the API shows, so that what is stored equals what is told."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
