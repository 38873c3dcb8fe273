"""CloudEvents 1.0 in Kafka's binary mode: attributes in headers, data in the value.

Only the headers that somebody needs are written. Reading never trusts them: a header that is not UTF-8 is an error
with a name, not an exception from the codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.wire import parse_rfc3339, rfc3339, utc_now

Headers = list[tuple[str, bytes]]
Received = Sequence[tuple[str, bytes | None]]
"""Headers of others may have no value."""
JSON = b"application/json"


class EnvelopeInvalid(ValueError):
    """The headers of a record are not those of a CloudEvent; the text says which one is wrong."""


class Envelope(msgspec.Struct, frozen=True):
    """Who says what about whom, and why. `time` is when it happened; `id` is unique with `source`."""

    type: str
    source: str
    subject: str
    correlation_id: str
    traceparent: str
    id: str
    time: datetime


def new_envelope(
    kind: str,
    *,
    source: str,
    subject: str,
    correlation_id: str,
    traceparent: str,
    time: datetime | None = None,
    id: str | None = None,
) -> Envelope:
    """`id` is given where the same event may be published twice."""
    return Envelope(kind, source, subject, correlation_id, traceparent, id or new_id("evt"), time or utc_now())


def encode(envelope: Envelope) -> Headers:
    return [
        ("content-type", JSON),
        ("ce_specversion", b"1.0"),
        ("ce_id", envelope.id.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_type", envelope.type.encode()),
        ("ce_subject", envelope.subject.encode()),
        ("ce_time", rfc3339(envelope.time).encode()),
        ("ce_correlationid", envelope.correlation_id.encode()),
        ("traceparent", envelope.traceparent.encode()),
    ]


def decode(headers: Received) -> Envelope:
    """Read the envelope of one of our own topics.

    Raises:
        EnvelopeInvalid: a required attribute is missing, or one is not what the specification says.
    """
    found = texts(headers)
    for name in ("ce_specversion", "ce_id", "ce_source", "ce_type"):
        if not found.get(name):
            raise EnvelopeInvalid(f"the header {name} is missing")
    if found["ce_specversion"] != "1.0":
        raise EnvelopeInvalid("ce_specversion is not 1.0")
    content_type = found.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise EnvelopeInvalid("content-type is not application/json")
    try:
        moment = parse_rfc3339(found["ce_time"]) if "ce_time" in found else utc_now()
    except ValueError:
        raise EnvelopeInvalid("ce_time is not an RFC 3339 time with a zone") from None
    return Envelope(
        type=found["ce_type"],
        source=found["ce_source"],
        subject=found.get("ce_subject", ""),
        correlation_id=found.get("ce_correlationid", ""),
        traceparent=found.get("traceparent", ""),
        id=found["ce_id"],
        time=moment,
    )


def texts(headers: Received) -> dict[str, str]:
    """Headers as text, the last of equal names winning.

    Raises:
        EnvelopeInvalid: a header of ours is not UTF-8.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        try:
            found[name.lower()] = (value or b"").decode()
        except UnicodeDecodeError:
            if name.lower().startswith("ce_") or name.lower() in ("traceparent", "content-type"):
                raise EnvelopeInvalid(f"the header {name[:64]} is not UTF-8") from None
    return found
