"""Every message that was ever published stays readable: the examples never leave, and never change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jobyard_common.contracts import schemas
from jobyard_common.contracts.catalogue import MESSAGES
from jobyard_common.contracts.envelope import decode
from jobyard_common.contracts.wire import decode as decode_body

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*/*.json"))
BY_TYPE = {message.type: message for message in MESSAGES}


def load(path: Path) -> tuple[str, dict[str, Any]]:
    return path.parent.name, dict(json.loads(path.read_text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_example_is_read_by_todays_code_and_fits_todays_schema(path: Path) -> None:
    kind, record = load(path)
    headers = [(name, value.encode()) for name, value in record["headers"].items()]
    envelope = decode(headers)
    assert envelope.type == kind
    message = BY_TYPE[kind]
    decode_body(message.shape, json.dumps(record["value"]).encode())
    jsonschema.Draft202012Validator(schemas.generated(message)).validate(record["value"])


def test_every_message_type_has_an_example() -> None:
    assert {path.parent.name for path in EXAMPLES} >= set(BY_TYPE)
