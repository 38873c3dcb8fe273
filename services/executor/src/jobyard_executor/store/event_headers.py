"""The CloudEvents headers of a job's event, and the same as the outbox stores them.

Nine headers an event, of which a batch shares four: those are packed once, and the rest is put between them.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.jobs import event_type
from jobyard_common.messaging.header_pack import join_packed, pack_header, pack_name, pack_value

from jobyard_executor.domain.job import Job
from jobyard_executor.domain.snapshot import moment

_FIRST: Headers = [("content-type", b"application/json"), ("ce_specversion", b"1.0")]
_BEFORE_ID = b"".join(pack_header(name, value) for name, value in _FIRST) + pack_name("ce_id")
_BEFORE_SUBJECT = pack_name("ce_subject")
_BEFORE_CORRELATION = pack_name("ce_correlationid")
_BEFORE_TRACE = pack_name("traceparent")


def event_headers(job: Job, verb: str, *, at: datetime, incarnation: int, source: str) -> tuple[Headers, bytes]:
    """The headers, and their packed text."""
    subject = job.job_id.encode()
    number = b"%b.%d.%d" % (subject, incarnation, job.event_no)
    correlation = job.correlation_id.encode()
    trace = (job.run_trace or job.traceparent).encode()
    (origin, kind), same = _kind(source, verb)
    time, when = _time(at)
    headers = [
        *_FIRST,
        ("ce_id", number),
        origin,
        kind,
        ("ce_subject", subject),
        time,
        ("ce_correlationid", correlation),
        ("traceparent", trace),
    ]
    parts = (
        _BEFORE_ID,
        pack_value(number),
        same,
        _BEFORE_SUBJECT,
        pack_value(subject),
        when,
        _BEFORE_CORRELATION,
        pack_value(correlation),
        _BEFORE_TRACE,
        pack_value(trace),
    )
    return headers, join_packed(len(headers), parts)


@lru_cache(maxsize=64)
def _kind(source: str, verb: str) -> tuple[Headers, bytes]:
    headers = [("ce_source", source.encode()), ("ce_type", event_type(verb).encode())]
    return headers, b"".join(pack_header(name, value) for name, value in headers)


@lru_cache(maxsize=1024)
def _time(at: datetime) -> tuple[tuple[str, bytes], bytes]:
    header = ("ce_time", moment(at).encode())
    return header, pack_header(*header)
