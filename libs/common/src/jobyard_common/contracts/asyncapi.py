"""The AsyncAPI 3 document: every topic and message, made from the tables that the code uses."""

from __future__ import annotations

from typing import Any

from jobyard_common.contracts import schemas
from jobyard_common.contracts.catalogue import MESSAGES
from jobyard_common.contracts.topics import ALL, JOBS_INTAKE, Topic, topic_name

HEADER_MEANINGS = {
    "content-type": "application/json",
    "ce_specversion": "1.0",
    "ce_id": "Unique with ce_source.",
    "ce_source": "Who says it, e.g. /jobyard/executor.",
    "ce_type": "What it is, with its version.",
    "ce_subject": "The id of what it is about; equals the record's key.",
    "ce_time": "When it happened, RFC 3339 in UTC.",
    "ce_correlationid": "Equal on everything that one cause set off.",
    "traceparent": "W3C Trace Context.",
}
Document = dict[str, Any]


def document(*, version: str, bootstrap: str, prefix: str, submit_schema: Document) -> Document:
    """The whole document. `submit_schema` is the JSON Schema of a submit, which producers write to the intake."""
    messages: Document = {message.type: _message(message.type, message.meaning) for message in MESSAGES}
    definitions: Document = {message.type: _embedded(schemas.generated(message), message.type) for message in MESSAGES}
    messages["submit"] = {
        "name": "submit",
        "summary": "A submit, as for POST /v1/jobs.",
        "contentType": "application/json",
        "headers": {"type": "object", "properties": {name: {"type": "string"} for name in _INTAKE_HEADERS}},
        "payload": {"$ref": "#/components/schemas/submit"},
    }
    definitions["submit"] = submit_schema
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Jobyard",
            "version": version,
            "description": "Commands, events and output of jobs on Kafka: CloudEvents 1.0 in binary mode, JSON bodies.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": bootstrap, "protocol": "kafka"}},
        "channels": {topic.name: _channel(topic, prefix=prefix) for topic in ALL},
        "operations": _operations(),
        "components": {"messages": messages, "schemas": definitions},
    }


_INTAKE_HEADERS = ("idempotency-key", "correlation-id", "traceparent", "jobyard-api-key")


def _message(kind: str, meaning: str) -> Document:
    return {
        "name": kind,
        "summary": meaning,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": list(HEADER_MEANINGS),
            "properties": {name: {"type": "string", "description": text} for name, text in HEADER_MEANINGS.items()},
        },
        "payload": {"$ref": f"#/components/schemas/{kind}"},
    }


def _embedded(schema: Document, name: str) -> Document:
    """The schema with its references pointing to where it stands in this document."""

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: _moved_ref(key, found, name) if key == "$ref" else moved(found) for key, found in value.items()
            }
        return [moved(found) for found in value] if isinstance(value, list) else value

    embedded: Document = moved({key: value for key, value in schema.items() if key != "$schema"})
    return embedded


def _moved_ref(_key: str, reference: str, name: str) -> str:
    return reference.replace("#/", f"#/components/schemas/{name}/", 1)


def _names(topic: Topic) -> list[str]:
    return ["submit"] if topic is JOBS_INTAKE else [row.type for row in MESSAGES if row.topic is topic]


def _channel(topic: Topic, *, prefix: str) -> Document:
    kept = f"{topic.retention.days} days" if topic.retention else "compacted"
    return {
        "address": topic_name(topic, prefix=prefix),
        "description": f"{topic.meaning} Key: {topic.key}. Written by {', '.join(topic.writers)}; read by "
        f"{', '.join(topic.readers)}. Kept: {kept}. Refused records go to {topic.name}.dlt.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names(topic)},
        "bindings": {"kafka": {"topic": topic_name(topic, prefix=prefix), "partitions": topic.partitions}},
    }


def _operations() -> Document:
    """From the point of view of the platform: it receives the intake and sends the rest."""
    return {
        f"{'receive' if topic is JOBS_INTAKE else 'send'}.{topic.name}": {
            "action": "receive" if topic is JOBS_INTAKE else "send",
            "channel": {"$ref": f"#/channels/{topic.name}"},
            "summary": topic.meaning,
        }
        for topic in ALL
    }
