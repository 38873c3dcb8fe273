"""Under which trace and correlation id the current task works; logs and outgoing calls carry them on."""

from __future__ import annotations

import re
from contextvars import ContextVar

import msgspec

from jobyard_common.contracts.entropy import random_hex

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?![^-])(.?)", re.DOTALL)
_NO_TRACE, _NO_SPAN, _ODD = "0" * 32, "0" * 16, frozenset("13579bdf")


class TraceContext(msgspec.Struct, frozen=True):
    """A position in a trace (W3C Trace Context). Ids are lower-case hex, never all zero."""

    trace_id: str
    span_id: str
    sampled: bool

    def format(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> TraceContext:
        """The same trace with a new span id."""
        return TraceContext(self.trace_id, new_span_id(), self.sampled)


def new_span_id() -> str:
    return random_hex(8)


def new_trace(*, sampled: bool) -> TraceContext:
    return TraceContext(random_hex(16), random_hex(8), sampled)


def parse(header: str | None) -> TraceContext | None:
    """Read a `traceparent`; None for anything that the specification calls invalid."""
    found = _TRACEPARENT.match(header) if header else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, flags[1] in _ODD)


current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)
current_correlation: ContextVar[str] = ContextVar("current_correlation", default="")
