from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from jobyard_common.contracts import asyncapi, schemas
from jobyard_common.contracts.catalogue import MESSAGES, Message
from jobyard_common.contracts.topics import ALL


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_the_committed_schema_is_the_generated_one(message: Message) -> None:
    assert schemas.committed(message) == schemas.generated(message)
    jsonschema.Draft202012Validator.check_schema(schemas.generated(message))


def test_no_committed_schema_is_left_behind() -> None:
    assert {path.name for path in schemas.FOLDER.iterdir()} == {f"{message.type}.json" for message in MESSAGES}


OLD: dict[str, Any] = {
    "type": "object",
    "required": ["a"],
    "properties": {"a": {"type": "string"}, "b": {"enum": ["x", "y"]}},
}


def changed(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(OLD) | parts


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        (changed(properties={"a": {"type": "string"}}), "removed"),
        (changed(required=["a", "b"]), "requires"),
        (changed(properties={**OLD["properties"], "a": {"type": "integer"}}), "type"),
        (changed(properties={**OLD["properties"], "b": {"enum": ["x"]}}), "lost"),
    ],
)
def test_a_breaking_change_is_seen(new: dict[str, Any], fault: str) -> None:
    assert any(fault in line for line in schemas.breaking(OLD, new))


def test_an_optional_addition_is_free() -> None:
    assert schemas.breaking(OLD, changed(properties={**OLD["properties"], "c": {"type": "integer"}})) == []


def test_every_topic_and_every_reference_of_the_asyncapi_document_resolves() -> None:
    document = asyncapi.document(version="1", bootstrap="kafka:9092", prefix="p.", submit_schema={"type": "object"})
    assert set(document["channels"]) == {topic.name for topic in ALL}
    assert document["channels"]["jobs.events"]["address"] == "p.jobs.events"
    found = list(references(document))
    assert len(found) > 50
    for reference in found:
        where: Any = document
        for part in reference.removeprefix("#/").split("/"):
            where = where[part]


def references(value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
