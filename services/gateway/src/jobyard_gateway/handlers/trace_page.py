"""Where the trace of a job is."""

from __future__ import annotations

import msgspec


class _Traced(msgspec.Struct):
    trace_id: str
    correlation_id: str


def trace_of(job: bytes, *, template: str | None) -> bytes:
    """`url` is null where no tracing page is configured."""
    found = msgspec.json.decode(job, type=_Traced)
    url = template.replace("{trace_id}", found.trace_id) if template else None
    return msgspec.json.encode({"trace_id": found.trace_id, "correlation_id": found.correlation_id, "url": url})
