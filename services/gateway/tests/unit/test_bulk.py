"""Bulk operations and replays of dead jobs are checked at the door."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.http.problems import Problem
from jobyard_gateway.domain.operations import ReplayLetterDocument
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.check_bulk import bulk_content, check_parameters
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.bulk import BulkDocument
from starlette.requests import Request

LATER = "2099-01-01T00:00:00Z"


def request(document: object) -> Request:
    body = json.dumps(document).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    return Request(scope, receive)


def content(**members: Any) -> dict[str, Any]:
    document = asyncio.run(json_body(request(members), BulkDocument))
    assert document is not None
    found: dict[str, Any] = json.loads(bulk_content(document))
    return found


def test_a_filter_becomes_the_query_of_a_list() -> None:
    found = content(action="cancel", filter={"state": ["queued", "scheduled"], "tag": "a", "metadata": {"batch": "7"}})
    assert found["filter"] == [["state", "queued"], ["state", "scheduled"], ["tag", "a"], ["metadata.batch", "7"]]


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"action": "cancel"}, ""),
        ({"action": "cancel", "ids": ["x"], "filter": {"tag": "a"}}, ""),
        ({"action": "explode", "ids": ["x"]}, "/action"),
        ({"action": "cancel", "ids": []}, "/ids"),
        ({"action": "cancel", "ids": [5]}, "/ids"),
        ({"action": "cancel", "filter": {}}, "/filter"),
        ({"action": "cancel", "filter": {"state": "nonsense"}}, "/filter/state"),
        ({"action": "cancel", "filter": {"state": []}}, "/filter/state"),
        ({"action": "cancel", "filter": {"tag": 5}}, "/filter/tag"),
        ({"action": "cancel", "filter": {"surprise": "x"}}, "/filter/surprise"),
        ({"action": "cancel", "filter": {"limit": "5"}}, "/filter/limit"),
        ({"action": "cancel", "filter": {"created_after": "yesterday"}}, "/filter/created_after"),
        ({"action": "cancel", "filter": {"tag": "a"}, "run_at": LATER}, "/run_at"),
        ({"action": "reschedule", "filter": {"tag": "a"}}, "/run_at"),
        ({"action": "cancel", "filter": {"tag": "a"}, "dead": True}, "/dead"),
        ({"action": "replay", "ids": ["x"], "dead": True}, "/dead"),
        ({"action": "cancel", "filter": {"tag": "a"}, "rate_per_s": 0}, "/rate_per_s"),
        ({"action": "cancel", "filter": {"tag": "a"}, "note": "x" * 1001}, "/note"),
        ({"action": "cancel", "filter": {"tag": "a\0"}}, "/filter/tag"),
        ({"action": "cancel", "filter": {"tag": "a"}, "more": 1}, "/more"),
    ],
)
def test_what_is_wrong_has_its_pointer(members: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Problem) as caught:
        content(**members)
    assert caught.value.code == "validation_failed"
    assert any(error.pointer == pointer or error.pointer.startswith(f"{pointer}/") for error in caught.value.errors)


def test_open_dead_letters_need_no_other_filter() -> None:
    assert content(action="replay", filter={}, dead=True, rate_per_s=5)["dead"] is True


def test_new_parameters_of_a_dead_job_must_fit_its_tool() -> None:
    registry = Registry()
    schema = msgspec.Raw(b'{"type":"object","properties":{"n":{"type":"integer"}}}')
    registry.define(ToolDefinition("echo", "1", "", "", schema, "default", Isolation.ASYNC, Level.L0, "h"))
    letter = b'{"id":"job_x","job":{"tool":"echo","tool_version":"1"}}'
    check_parameters(letter, ReplayLetterDocument(msgspec.Raw(b'{"n":1}')), registry)
    check_parameters(letter, ReplayLetterDocument(), registry)
    with pytest.raises(Problem) as caught:
        check_parameters(letter, ReplayLetterDocument(msgspec.Raw(b'{"n":"x"}')), registry)
    assert [error.pointer for error in caught.value.errors] == ["/parameters/n"]
    with pytest.raises(Problem) as caught:
        check_parameters(letter.replace(b'"1"', b'"2"'), ReplayLetterDocument(msgspec.Raw(b"{}")), registry)
    assert caught.value.code == "unknown_tool"
