"""The parameters of a command tool: a JSON Schema 2020-12 that is safe to publish and to validate with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from jobyard.author.errors import BadParameters

LARGEST = 64 * 1024
DEEPEST = 16
LONGEST_PATTERN = 500
FAULTS_SHOWN = 20
REFERENCES = frozenset({"$ref", "$dynamicRef", "$schema", "$id"})
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class SchemaInvalid(Exception):
    """A schema that cannot be used; `place` is the dotted path of the fault, with its leading dot, or empty."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


def closed_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, refusing unknown parameters unless it allows them itself. Raises SchemaInvalid."""
    if schema.get("type", "object") != "object":
        raise SchemaInvalid(".type", 'must be "object": the parameters of a job are an object')
    closed = {"type": "object", **schema}
    if "additionalProperties" not in closed and "unevaluatedProperties" not in closed:
        closed["additionalProperties"] = False
    if len(json.dumps(closed)) > LARGEST:
        raise SchemaInvalid("", f"has more than {LARGEST:,} bytes as JSON")
    for place, key, value in _members(closed, ""):
        _harmless(place, key, value)
    _well_formed(closed)
    return closed


def check_parameters(text: bytes, schema: Mapping[str, Any]) -> None:
    """Check parameters that came by a file, which nobody has looked at before. Raises BadParameters with the faults."""
    from jsonschema import Draft202012Validator

    try:
        parameters = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadParameters(f"The file with the parameters is no JSON: {error}") from None
    faults = islice(Draft202012Validator(schema).iter_errors(parameters), FAULTS_SHOWN)
    told = ["/" + "/".join(map(str, fault.absolute_path)) + ": " + fault.message[:200] for fault in faults]
    if told:
        raise BadParameters("The parameters are refused. " + "; ".join(told))


def _members(node: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    if place.count(".") + place.count("[") > DEEPEST * 2:
        raise SchemaInvalid(place, "is nested too deeply")
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{place}.{key}", key, value
            yield from _members(value, f"{place}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _members(value, f"{place}[{index}]")


def _harmless(place: str, key: str, value: Any) -> None:
    if key in REFERENCES and isinstance(value, str) and not value.startswith("#") and value != DIALECT:
        raise SchemaInvalid(place, "may only point into this schema (#/…); nothing is fetched")
    if key == "pattern" and isinstance(value, str):
        _pattern(place, value)
    if key == "patternProperties" and isinstance(value, Mapping):
        for pattern in value:
            _pattern(f"{place}.{pattern}", pattern)


def _pattern(place: str, pattern: str) -> None:
    if len(pattern) > LONGEST_PATTERN:
        raise SchemaInvalid(place, f"has more than {LONGEST_PATTERN} characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise SchemaInvalid(place, f"is no regular expression: {error}") from None


def _well_formed(schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator, SchemaError  # only executors with command tools pay for the import

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise SchemaInvalid(place, error.message[:300]) from None
