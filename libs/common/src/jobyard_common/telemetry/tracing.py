"""Spans that cost nothing unless a trace is sampled, with the names and attributes of the messaging conventions.

Ids are always minted, so that logs, events and answers name a trace with or without a collector; objects of the
OpenTelemetry SDK exist for sampled spans only. Context travels by `traceparent` in our own headers: no
instrumentation of a library is used, because each of them breaks the chain of causes somewhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from enum import Enum
from types import TracebackType

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from jobyard_common.contracts.envelope import Headers
from jobyard_common.telemetry.context import TraceContext, new_trace, parse

Value = str | int | float | bool
QUEUE_SIZE = 32_768
EXPORT_EVERY_MS = 500
EXPORT_TIMEOUT_S = 1


class Kind(Enum):
    INTERNAL = otel.SpanKind.INTERNAL
    SERVER = otel.SpanKind.SERVER
    CLIENT = otel.SpanKind.CLIENT
    PRODUCER = otel.SpanKind.PRODUCER
    CONSUMER = otel.SpanKind.CONSUMER


class Span:
    """A step of a trace. Unsampled, it is its ids and nothing else. End it once; a second end is ignored."""

    __slots__ = ("_span", "context")

    def __init__(self, context: TraceContext, span: otel.Span | None) -> None:
        self.context = context
        self._span = span

    def set(self, name: str, value: Value) -> None:
        if self._span is not None:
            self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        """For spans whose proper name is known late, such as that of a route."""
        if self._span is not None:
            self._span.update_name(name)

    def error(self, cause: BaseException | str) -> None:
        """Mark as failed; `error.type` is the class of the cause, or its text."""
        if self._span is None:
            return
        if isinstance(cause, BaseException):
            self._span.record_exception(cause)
            self._span.set_attribute("error.type", type(cause).__name__)
        else:
            self._span.set_attribute("error.type", cause)
        self._span.set_status(Status(StatusCode.ERROR, str(cause)[:500]))

    def end(self, end_ns: int | None = None) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.end(end_ns)

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if error is not None:
            self.error(error)
        self.end()


class Sampler:
    """The standard sampler names, decided where a trace begins; a parent's decision is always kept."""

    def __init__(self, name: str, argument: str | None) -> None:
        ratio = name.removeprefix("parentbased_")
        if ratio == "always_on":
            self._share = 1.0
        elif ratio == "always_off":
            self._share = 0.0
        elif ratio == "traceidratio":
            try:
                self._share = min(1.0, max(0.0, float(argument or "1")))
            except ValueError:
                raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {argument!r}, want a number from 0 to 1") from None
        else:
            raise ValueError(f"OTEL_TRACES_SAMPLER {name!r} is not one of always_on, always_off, traceidratio")
        self._random = random.Random()  # noqa: S311 - a share of traces, not a secret

    def decide(self) -> bool:
        return self._share >= 1 or (self._share > 0 and self._random.random() < self._share)


class _FixedIds(RandomIdGenerator):
    """The SDK asks for ids; ours were minted before, so that unsampled and sampled work the same way."""

    next_trace: int = 0
    next_span: int = 0

    def generate_span_id(self) -> int:
        return self.next_span

    def generate_trace_id(self) -> int:
        return self.next_trace


class Tracer:
    """Starts spans of one service. Without an endpoint or exporter nothing is ever exported."""

    def __init__(
        self,
        service: str,
        *,
        instance: str = "",
        endpoint: str | None = None,
        sampler: str = "parentbased_always_on",
        sampler_arg: str | None = None,
        exporter: SpanExporter | None = None,
    ) -> None:
        self._sampler = Sampler(sampler, sampler_arg)
        self._provider: TracerProvider | None = None
        self._ids = _FixedIds()
        if exporter is None and endpoint:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        if exporter is not None:
            resource = Resource.create({"service.name": f"jobyard-{service}", "service.instance.id": instance})
            self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
            self._provider.add_span_processor(_processor(exporter))
            self._tracer = self._provider.get_tracer("jobyard")

    @property
    def exporting(self) -> bool:
        return self._provider is not None

    def root(self) -> TraceContext:
        """A new trace with the sampler's decision; nothing is sampled when nothing is exported."""
        return new_trace(sampled=self._provider is not None and self._sampler.decide())

    def span(
        self,
        name: str,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: TraceContext | None = None,
        links: Iterable[TraceContext] = (),
        attributes: Mapping[str, Value] | None = None,
        start_ns: int | None = None,
    ) -> Span:
        """Start a span under `parent`, or a new trace. Times are nanoseconds since the epoch."""
        context = self.root() if parent is None else parent.child()
        if self._provider is None or not context.sampled:
            return Span(context, None)
        self._ids.next_trace, self._ids.next_span = int(context.trace_id, 16), int(context.span_id, 16)
        span = self._tracer.start_span(
            name,
            context=otel.set_span_in_context(NonRecordingSpan(_otel(parent)) if parent else otel.INVALID_SPAN),
            kind=kind.value,
            attributes=dict(attributes or {}),
            links=[Link(_otel(link)) for link in links],
            start_time=start_ns or time.time_ns(),
        )
        return Span(context, span)

    def shutdown(self) -> None:
        """Export what is left; waits about a second at most."""
        if self._provider is not None:
            self._provider.shutdown()


def _otel(context: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=flags)


def _processor(exporter: SpanExporter) -> SpanProcessor:
    return BatchSpanProcessor(
        exporter,
        max_queue_size=QUEUE_SIZE,
        schedule_delay_millis=EXPORT_EVERY_MS,
        max_export_batch_size=2048,
        export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
    )


def messaging(operation: str, topic: str, *, key: str | None = None) -> dict[str, Value]:
    """Attributes that send and process spans share (semantic conventions 1.44)."""
    found: dict[str, Value] = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
    }
    if key:
        found["messaging.kafka.message.key"] = key
    return found


def send_span(tracer: Tracer, topic: str, key: bytes | str | None, headers: Headers) -> tuple[Headers, Span | None]:
    """For a sampled record: its `send` span, and the headers that name this span as the parent of what follows."""
    if not tracer.exporting:
        return headers, None
    found = next((value for name, value in headers if name == "traceparent"), None)
    parent = parse(found.decode(errors="replace")) if found else None
    if parent is None or not parent.sampled:
        return headers, None
    text = key if isinstance(key, str) else (key or b"").decode(errors="replace")
    attributes = messaging("send", topic, key=text)
    for name, value in headers:
        if name == "ce_correlationid":
            attributes["messaging.message.conversation_id"] = value.decode(errors="replace")
            attributes["correlation.id"] = attributes["messaging.message.conversation_id"]
        elif name == "ce_id":
            attributes["messaging.message.id"] = value.decode(errors="replace")
    span = tracer.span(f"send {topic}", kind=Kind.PRODUCER, parent=parent, attributes=attributes)
    fresh = [(name, value) for name, value in headers if name != "traceparent"]
    fresh.append(("traceparent", span.context.format().encode()))
    return fresh, span


__all__ = ["Kind", "ReadableSpan", "Sampler", "Span", "Tracer", "messaging", "send_span"]
