"""The documents are complete and valid, and say what the code does."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import httpx
import msgspec
from jobyard_common.contracts.topics import ALL
from jobyard_gateway.documents.asyncapi import asyncapi
from jobyard_gateway.documents.openapi import openapi_of
from jobyard_gateway.domain.submission import Submission
from jobyard_gateway.handlers.authenticate import Authenticator
from jobyard_gateway.inbound.http.app import make_api
from jobyard_gateway.inbound.http.bulk import BulkRoutes
from jobyard_gateway.inbound.http.dead_letters import DeadLetterRoutes
from jobyard_gateway.inbound.http.files import FileRoutes
from jobyard_gateway.inbound.http.jobs import JobRoutes
from jobyard_gateway.inbound.http.owned import Owned
from jobyard_gateway.inbound.http.pages import page_routes
from jobyard_gateway.inbound.http.schedules import ScheduleRoutes
from jobyard_gateway.inbound.http.workflows import WorkflowRoutes
from openapi_spec_validator import validate
from starlette.applications import Starlette

NONE = cast(Any, None)


def api() -> Any:
    endpoints = [
        *JobRoutes(NONE, NONE, NONE, NONE, trace_url=None).endpoints(),
        *FileRoutes(NONE, public_url="").endpoints(),
        *ScheduleRoutes(Owned(NONE, NONE), NONE).endpoints(),
        *BulkRoutes(Owned(NONE, NONE)).endpoints(),
        *DeadLetterRoutes(Owned(NONE, NONE), NONE).endpoints(),
        *WorkflowRoutes(Owned(NONE, NONE), NONE, NONE).endpoints(),
    ]
    return make_api(endpoints, authenticator=cast(Authenticator, None))


def test_the_openapi_document_is_valid_and_has_the_submit() -> None:
    document = json.loads(msgspec.json.encode(openapi_of(api(), version="1")))
    validate(document)
    assert document["openapi"].startswith("3.1")
    submit = document["paths"]["/v1/jobs"]["post"]
    assert submit["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Submission")
    members = document["components"]["schemas"]["Submission"]["properties"]
    assert set(members) == {field.name for field in msgspec.structs.fields(Submission)}
    assert {"get", "post"} == set(document["paths"]["/v1/jobs"])


def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    document = openapi_of(api(), version="1")
    text = json.dumps(document)
    known = document["components"]["schemas"]
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(known)


def test_the_asyncapi_document_has_every_topic_and_resolves() -> None:
    document = json.loads(asyncapi(version="1", bootstrap="kafka:9092", prefix="p."))
    assert document["asyncapi"].startswith("3.")
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {f"p.{topic.name}" for topic in ALL}
    for pointer in _references(document):
        place: Any = document
        for step in pointer.removeprefix("#/").split("/"):
            place = place[step]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for part in value.values() for found in _references(part)]
    return [found for part in value for found in _references(part)] if isinstance(value, list) else []


def test_pages_need_nothing_from_elsewhere() -> None:
    app = Starlette(routes=list(page_routes(api(), version="1", events_document=b"{}")))

    async def story() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
            page = await http.get("/docs")
            assert page.status_code == 200 and "frame-ancestors" in page.headers["content-security-policy"]
            script, style = await http.get("/docs/docs.js"), await http.get("/docs/docs.css")
            for text in (page.text, script.text, style.text):
                assert "http://" not in text and "https://" not in text
            assert (await http.get("/problems/validation_failed")).status_code == 200
            assert "validation_failed" in (await http.get("/problems")).text

    asyncio.run(story())
