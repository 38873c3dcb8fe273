"""Under which trace and correlation id the current task works; logs and outgoing calls carry them on."""

from __future__ import annotations

import secrets
from contextvars import ContextVar

import msgspec

_HEX = frozenset("0123456789abcdef")


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
    return secrets.token_hex(8)


def new_trace(*, sampled: bool) -> TraceContext:
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8), sampled)


def parse(header: str | None) -> TraceContext | None:
    """Read a `traceparent`; None for anything that the specification calls invalid."""
    if not header or len(header) < 55:
        return None
    version, trace_id, span_id, flags = header[:2], header[3:35], header[36:52], header[53:55]
    if header[2] != "-" or header[35] != "-" or header[52] != "-" or version == "ff":
        return None
    if (version == "00" and len(header) != 55) or (len(header) > 55 and header[55] != "-"):
        return None
    if not _HEX.issuperset(version + trace_id + span_id + flags):
        return None
    if trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)
current_correlation: ContextVar[str] = ContextVar("current_correlation", default="")
