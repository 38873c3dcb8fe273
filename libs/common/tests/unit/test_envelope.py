from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from jobyard_common.contracts.envelope import Envelope, EnvelopeInvalid, Headers, decode, encode

EVENT = Envelope(
    type="jobyard.job.started.v1",
    source="/jobyard/executor",
    subject="job_1",
    correlation_id="order-77",
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    id="evt_1",
    time=datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
)


def test_round_trip() -> None:
    assert decode(encode(EVENT)) == EVENT


def test_the_reference_implementation_reads_what_we_write() -> None:
    message = KafkaMessage(headers=dict(encode(EVENT)), key=b"job_1", value=b'{"a": 1}')
    read = from_binary(message, JSONFormat())
    assert (read.get_type(), read.get_source(), read.get_subject()) == (EVENT.type, EVENT.source, EVENT.subject)
    assert (read.get_id(), read.get_time(), read.get_data()) == (EVENT.id, EVENT.time, {"a": 1})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ([("ce_specversion", b"9.9")], "ce_specversion"),
        ([("ce_specversion", b"")], "ce_specversion"),
        ([("ce_id", b"\xff")], "UTF-8"),
        ([("ce_id", b"")], "ce_id"),
        ([("ce_time", b"yesterday")], "ce_time"),
        ([("ce_time", b"2030-01-01T00:00:00")], "ce_time"),
        ([("content-type", b"text/xml")], "content-type"),
    ],
)
def test_broken_headers_are_named(change: Headers, says: str) -> None:
    with pytest.raises(EnvelopeInvalid, match=says):
        decode([*encode(EVENT), *change])


def test_foreign_headers_do_not_disturb() -> None:
    assert decode([*encode(EVENT), ("x-other", b"\xff\xfe")]) == EVENT
