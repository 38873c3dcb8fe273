"""The command that makes a job, as a record of `jobs.commands`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from jobyard_common.contracts.envelope import Headers, encode, new_envelope
from jobyard_common.contracts.jobs import SUBMIT
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import rfc3339
from jobyard_common.messaging.lots import PackedRecord
from jobyard_common.messaging.packed import PackedEnvelopes, packed_record
from jobyard_common.messaging.publisher import OutRecord

SOURCE = "/jobyard/gateway"
_ENVELOPES = PackedEnvelopes(SUBMIT, SOURCE)


class Said(msgspec.Struct, frozen=True):
    """What the records of one request say of it."""

    correlation_id: str
    traceparent: str
    at: datetime


def headers(job_id: str, said: Said) -> Headers:
    envelope = new_envelope(
        SUBMIT,
        source=SOURCE,
        subject=job_id,
        correlation_id=said.correlation_id,
        traceparent=said.traceparent,
        time=said.at,
        id=f"evt_{job_id[4:]}",
    )
    return encode(envelope)


def whole(job_id: str, command: bytes, said: Said) -> OutRecord:
    return OutRecord(JOBS_COMMANDS.name, job_id, command, headers(job_id, said))


def packed(job_id: str, command: bytes, said: Said) -> PackedRecord:
    """The same record, as it is sent when nobody wants a span of it."""
    packed_headers = _ENVELOPES.pack(
        id=f"evt_{job_id[4:]}",
        subject=job_id,
        time=rfc3339(said.at),
        correlation_id=said.correlation_id,
        traceparent=said.traceparent,
    )
    key = job_id.encode()
    return key, packed_record(key, command, packed_headers)
