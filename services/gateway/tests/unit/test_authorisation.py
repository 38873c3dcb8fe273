"""The authorisation matrix, generated from the table of endpoints: every route times every kind of key."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from fastapi import Request
from jobyard_common.http.problems import Problem
from jobyard_gateway.domain.permissions import GRANTS, Permission, Principal, Role
from jobyard_gateway.handlers.authenticate import Authenticator
from jobyard_gateway.inbound.http.admin import AdminRoutes
from jobyard_gateway.inbound.http.app import make_api
from jobyard_gateway.inbound.http.batches import BatchRoutes
from jobyard_gateway.inbound.http.bulk import BulkRoutes
from jobyard_gateway.inbound.http.dead_letters import DeadLetterRoutes
from jobyard_gateway.inbound.http.events import EventRoutes
from jobyard_gateway.inbound.http.files import FileRoutes
from jobyard_gateway.inbound.http.jobs import JobRoutes
from jobyard_gateway.inbound.http.operations import OperationRoutes
from jobyard_gateway.inbound.http.owned import Owned
from jobyard_gateway.inbound.http.queues import QueueRoutes
from jobyard_gateway.inbound.http.routing import Endpoint
from jobyard_gateway.inbound.http.schedules import ScheduleRoutes
from jobyard_gateway.inbound.http.tools import ToolRoutes
from jobyard_gateway.inbound.http.workflows import WorkflowRoutes
from starlette.responses import Response

NONE = cast(Any, None)
KEYS: dict[str, frozenset[Permission] | None] = {
    "no key": None,
    "a key without permissions": frozenset(),
    **{role.value: GRANTS[role] for role in Role},
    **{f"only {permission.value}": frozenset({permission}) for permission in Permission},
}


def table() -> list[Endpoint]:
    return [
        *JobRoutes(NONE, NONE, NONE, NONE, trace_url=None).endpoints(),
        *BatchRoutes(NONE).endpoints(),
        *EventRoutes(NONE).endpoints(),
        *ToolRoutes(NONE, NONE).endpoints(),
        *FileRoutes(NONE, public_url="").endpoints(),
        *OperationRoutes(NONE, NONE).endpoints(),
        *QueueRoutes(Owned(NONE, NONE)).endpoints(),
        *ScheduleRoutes(Owned(NONE, NONE), NONE).endpoints(),
        *BulkRoutes(Owned(NONE, NONE)).endpoints(),
        *DeadLetterRoutes(Owned(NONE, NONE), NONE).endpoints(),
        *WorkflowRoutes(Owned(NONE, NONE), NONE, NONE).endpoints(),
        *AdminRoutes(NONE, on_revoked=NONE).endpoints(),
    ]


async def reached(request: Request, principal: Principal) -> Response:
    return Response(status_code=204)


class Keys(Authenticator):
    """Knows the keys of the matrix by their position."""

    def __init__(self) -> None:
        self._names = list(KEYS)

    def remembered(self, authorization: bytes) -> Principal | None:
        permissions = KEYS[self._names[int(authorization)]] if authorization.isdigit() else None
        return None if permissions is None else Principal("t", "k", Role.VIEWER, permissions)

    async def of_header(self, authorization: bytes) -> Principal:
        raise Problem("unauthenticated")


class Client:
    def __init__(self) -> None:
        open_doors = [replace(endpoint, handler=reached) for endpoint in table()]
        self.app: Any = make_api(open_doors, authenticator=Keys())

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://gateway") as http:
                return await http.request(method, path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def client() -> Client:
    return Client()


@pytest.mark.parametrize("endpoint", table(), ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_each_route_lets_in_exactly_who_may(endpoint: Endpoint, client: Client) -> None:
    path = re.sub(r"{\w+}", "x", endpoint.path)
    for number, (who, permissions) in enumerate(KEYS.items()):
        headers = {} if permissions is None else {"Authorization": str(number)}
        status = client.request(endpoint.method, path, headers=headers).status_code
        if endpoint.permission is Permission.PUBLIC:
            expected = 204
        elif permissions is None:
            expected = 401
        else:
            expected = 204 if endpoint.permission in permissions else 403
        assert status == expected, who


def test_there_is_no_route_beside_the_table(client: Client) -> None:
    known = {(endpoint.method, endpoint.path) for endpoint in table()}
    served = {(method, route.path) for route in client.app.routes for method in route.methods}
    assert served == known


def test_only_the_capabilities_of_the_upload_server_are_public() -> None:
    public = [(row.method, row.path) for row in table() if row.permission is Permission.PUBLIC]
    assert public == [("OPTIONS", "/v1/files"), ("OPTIONS", "/v1/files/{file_id}")]


def test_wrong_methods_and_routes_are_problems(client: Client) -> None:
    for method, path, status in (("DELETE", "/v1/jobs", 405), ("GET", "/v1/nowhere", 404), ("GET", "/v1/jobs/", 404)):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
