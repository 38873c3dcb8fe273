"""The spans of a batch that a consumer works on."""

from __future__ import annotations

from jobyard_common.messaging.inbound import Inbound
from jobyard_common.telemetry.context import parse
from jobyard_common.telemetry.tracing import Kind, Span, Tracer, messaging


def process_spans(tracer: Tracer, batch: list[Inbound], *, topic: str, group: str) -> list[Span]:
    """A process span for each sampled record, under and linked to its send; the others keep their context."""
    spans: list[Span] = []
    if not tracer.exporting:
        return spans
    for record in batch:
        parent = parse(record.header("traceparent"))
        if parent is None or not parent.sampled:
            continue
        attributes = messaging("process", topic, key=(record.key or b"").decode(errors="replace"))
        attributes["messaging.consumer.group.name"] = group
        attributes["messaging.destination.partition.id"] = str(record.partition)
        attributes["messaging.kafka.offset"] = record.offset
        attributes["messaging.message.id"] = record.header("ce_id")
        attributes["messaging.message.conversation_id"] = record.header("ce_correlationid")
        attributes["correlation.id"] = record.header("ce_correlationid")
        name = f"process {topic}"
        span = tracer.span(name, kind=Kind.CONSUMER, parent=parent, links=[parent], attributes=attributes)
        record.trace = span.context
        spans.append(span)
    return spans
