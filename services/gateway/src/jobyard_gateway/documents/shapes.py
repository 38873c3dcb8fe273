"""The words that OpenAPI documents are written with."""

from __future__ import annotations

from typing import Any

Doc = dict[str, Any]
PROBLEM = "application/problem+json"


def ref(name: str) -> Doc:
    return {"$ref": f"#/components/schemas/{name}"}


def query(name: str, schema: Doc, description: str) -> Doc:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def header(name: str, description: str) -> Doc:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}


def operation(
    *,
    ok: tuple[int, str | None] = (200, "Any"),
    parameters: list[Doc] | None = None,
    body: str | None = None,
    stream: bool = False,
) -> Doc:
    """Members of an operation; the path's own parameters are added from its template."""
    status, schema = ok
    answer: Doc = {"description": "Done."}
    if schema is not None:
        answer["content"] = {"application/json": {"schema": ref(schema)}}
        if stream:
            answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    refusal = {"description": "A problem document.", "content": {PROBLEM: {"schema": ref("Problem")}}}
    found: Doc = {"responses": {str(status): answer, "default": refusal}}
    listed = list(parameters or [])
    if stream:
        listed.append(header("Last-Event-ID", "Go on exactly after this event."))
    if listed:
        found["parameters"] = listed
    if body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": ref(body)}}}
    return found


TEXT: Doc = {"type": "string"}
TEXTS: Doc = {"type": "array", "items": TEXT}
TIME: Doc = {"type": "string", "format": "date-time"}
WHOLE: Doc = {"type": "integer"}
NUMBER: Doc = {"type": "number"}
FREE: Doc = {}
OBJECT: Doc = {"type": "object"}


def optional(schema: Doc) -> Doc:
    return {"anyOf": [schema, {"type": "null"}]}


def record(members: dict[str, Doc], *, required: list[str] | None = None) -> Doc:
    return {"type": "object", "properties": members, "required": required if required is not None else list(members)}


def page(item: Doc) -> Doc:
    return record(
        {"data": {"type": "array", "items": item}, "next_cursor": optional(TEXT), "has_more": {"type": "boolean"}}
    )
