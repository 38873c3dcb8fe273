"""What a consumer hands to a use case: records as they came, and why one was refused."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from jobyard_common.contracts.envelope import Envelope, EnvelopeInvalid, Headers, Received, decode
from jobyard_common.contracts.topics import dlt
from jobyard_common.contracts.wire import rfc3339, utc_now
from jobyard_common.messaging.publisher import OutRecord
from jobyard_common.telemetry.context import TraceContext, parse


class Inbound(msgspec.Struct):
    """A record of a topic (named without prefix). `trace` is the span of its processing, if there is one."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Received
    """As they came: most records are read for one or two of them."""
    trace: TraceContext | None = None

    def context(self) -> TraceContext | None:
        """Under what its effects happen: the span of its processing, else what its sender said."""
        return self.trace or parse(self.header("traceparent"))

    def envelope(self) -> Envelope:
        """The CloudEvents attributes; raises EnvelopeInvalid."""
        return decode(self.headers)

    def header(self, name: str) -> str:
        """A header as text, empty when it is missing; never raises."""
        for found, value in self.headers:
            if found == name or found.lower() == name:
                return (value or b"").decode(errors="replace")
        return ""

    def fingerprint(self) -> bytes:
        """Tells this append from any other at the same offset: the producer's time stamp is made anew each time."""
        digest = hashlib.blake2b(self.timestamp_ms.to_bytes(8, "big", signed=True), digest_size=16)
        digest.update(self.key or b"")
        digest.update(b"\0")
        digest.update(self.value or b"")
        for name, value in self.headers:
            digest.update(name.encode(errors="surrogatepass"))
            digest.update(value or b"")
        return digest.digest()


class Refused(msgspec.Struct, frozen=True):
    """A record that cannot be applied, whatever is tried; it goes to the dead letters with its reason."""

    inbound: Inbound
    reason: str
    message: str


def dead_letter(refused: Refused, *, group: str) -> OutRecord:
    """The original key, value and headers, with headers that say why it is here; null stays null."""
    record = refused.inbound
    added: Headers = [
        ("dlt-reason", refused.reason.encode()),
        ("dlt-message", refused.message[:1024].encode(errors="replace")),
        ("dlt-original-topic", record.topic.encode()),
        ("dlt-original-partition", str(record.partition).encode()),
        ("dlt-original-offset", str(record.offset).encode()),
        ("dlt-original-timestamp", str(record.timestamp_ms).encode()),
        ("dlt-group", group.encode()),
        ("dlt-failed-at", rfc3339(utc_now()).encode()),
    ]
    kept: Headers = [(name, value or b"") for name, value in record.headers if not name.startswith("dlt-")]
    return OutRecord(dlt(record.topic), record.key, record.value, kept + added)


def inbound_of(row: Any, *, topic: str) -> Inbound:
    """From aiokafka's record."""
    return Inbound(topic, row.partition, row.offset, row.timestamp, row.key, row.value, row.headers)


__all__ = ["EnvelopeInvalid", "Inbound", "Refused", "dead_letter", "inbound_of"]
