"""Routes exist only with a permission: `public` has to be written down like any other.

The table of endpoints is the only way to a route, so the authorisation matrix test and the OpenAPI document are made
from it and can't miss one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from jobyard_common.http.context import current
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.authenticate import Authenticator, allow
from jobyard_gateway.handlers.limit import Limiter
from jobyard_gateway.handlers.submit_batch import PATH as BATCHES
from jobyard_gateway.inbound.http.bodies import Gone

Handler = Callable[[Request, Principal], Awaitable[Response]]
NOBODY = Principal("", "", None, frozenset())  # type: ignore[arg-type]


@dataclass(frozen=True)
class Endpoint:
    """`doc` holds members of the OpenAPI operation: parameters, requestBody, responses."""

    method: str
    path: str
    permission: Permission
    handler: Handler
    summary: str
    tag: str
    doc: dict[str, Any] = field(default_factory=dict)
    listed: bool = True


def mount(app: FastAPI, endpoints: Sequence[Endpoint], *, authenticator: Authenticator, limiter: Limiter) -> None:
    for endpoint in endpoints:
        app.add_api_route(
            endpoint.path,
            guarded(endpoint, authenticator, limiter),
            methods=[endpoint.method],
            summary=endpoint.summary,
            tags=[endpoint.tag],
            operation_id=_operation_id(endpoint),
            response_model=None,
            response_class=Response,
            include_in_schema=endpoint.listed,
            openapi_extra=endpoint.doc or None,
        )


def guarded(
    endpoint: Endpoint, authenticator: Authenticator, limiter: Limiter
) -> Callable[[Request], Awaitable[Response]]:
    """Authenticate, authorise and count before anything else of the request is looked at."""
    kind = limited_as(endpoint.method, endpoint.path)

    async def answer(request: Request) -> Response:
        request.scope["route_template"] = endpoint.path
        try:
            return await checked(request)
        except (Gone, ClientDisconnect):
            # The client hung up in the middle of its request; nobody reads this answer.
            return Response(status_code=499)

    async def checked(request: Request) -> Response:
        if endpoint.permission is Permission.PUBLIC:
            return await endpoint.handler(request, NOBODY)
        header = request.headers.get("authorization", "").encode("latin-1")
        principal = authenticator.remembered(header) or await authenticator.of_header(header)
        allow(principal, endpoint.permission)
        current().trust_caller()
        if limiter.active:
            await limiter.check(principal, "stream" if kind == "read" and wants_stream(request) else kind)
        return await endpoint.handler(request, principal)

    return answer


def limited_as(method: str, path: str) -> str:
    """The class of calls whose rate an endpoint counts against."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return "read"
    if path.startswith("/v1/files"):
        return "upload"
    return "submit" if path == BATCHES else "write"


def _operation_id(endpoint: Endpoint) -> str:
    words = endpoint.path.replace("{", "").replace("}", "").replace("-", "_").replace(".", "_").strip("/").split("/")
    return "_".join([endpoint.method.lower(), *[word for word in words if word != "v1"]])


def wants_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def json_answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")
