"""Files, passed through as a stream both ways: nothing of a body is kept here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from fastapi import Request
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.http.internal import InternalClient
from jobyard_common.http.problems import Problem
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from jobyard_gateway.documents import schemas as doc
from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.inbound.http.routing import NOBODY, Endpoint, Handler
from jobyard_gateway.outbound.executor import actor_of

TAG = "files"
NO_TENANT = "-"
ANYBODY = Actor(ActorKind.SYSTEM, "anybody")
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"host", "authorization", "cookie", "traceparent", "tracestate", "baggage", "accept-encoding"})
_ANSWERED_BY_US = frozenset({"x-request-id", "x-correlation-id", "traceparent", "server", "date"})


class FileRoutes:
    def __init__(self, client: InternalClient, *, public_url: str) -> None:
        self._client = client
        self._public_url = public_url

    def endpoints(self) -> list[Endpoint]:
        read, write = Permission.FILES_READ, Permission.FILES_WRITE
        one = "/v1/files/{file_id}"
        tus = doc.TUS
        table: list[tuple[str, str, Permission, str, dict[str, object]]] = [
            ("GET", "/v1/files", read, "List files, newest first", {"ok": (200, "FilePage"), "parameters": doc.PAGING}),
            ("POST", "/v1/files", write, "Begin a resumable upload (tus 1.0)", {"ok": (201, None), "parameters": tus}),
            ("OPTIONS", "/v1/files", Permission.PUBLIC, "What the upload server can do", {"ok": (204, None)}),
            ("GET", one, read, "Get what is known of a file", {"ok": (200, "File")}),
            ("HEAD", one, read, "How far an upload has come", {"ok": (200, None), "parameters": tus}),
            ("PATCH", one, write, "Send the next bytes of an upload", {"ok": (204, None), "parameters": tus}),
            ("DELETE", one, write, "Delete a file, or end an upload", {"ok": (204, None)}),
            ("OPTIONS", one, Permission.PUBLIC, "What the upload server can do", {"ok": (204, None)}),
            ("GET", f"{one}/content", read, "Download, with ranges", {"ok": (200, None)}),
            ("HEAD", f"{one}/content", read, "Size and type of the content", {"ok": (200, None)}),
            ("GET", f"{one}/report", read, "The report of the checks of a file", {"ok": (200, None)}),
            ("GET", f"{one}/preview", read, "A preview of a file", {"ok": (200, None)}),
        ]  # fmt: skip
        return [
            Endpoint(method, path, permission, self._handler(), summary, TAG, operation(**more))  # type: ignore[arg-type]
            for method, path, permission, summary, more in table
        ]

    def _handler(self) -> Handler:
        async def pass_on(request: Request, principal: Principal) -> Response:
            return await self._pass_on(request, principal)

        return pass_on

    async def _pass_on(self, request: Request, principal: Principal) -> Response:
        tenant, actor = (NO_TENANT, ANYBODY) if principal is NOBODY else (principal.tenant, actor_of(principal))
        own = self._client.headers(tenant=tenant, actor=actor)
        headers = forwarded(request.headers.raw) + [(name.encode(), value.encode()) for name, value in own.items()]
        headers.append((b"X-Jobyard-Public-Url", self._public_url.encode()))
        outgoing = self._client.http.build_request(
            request.method,
            httpx.URL(path=request.url.path, query=request.scope["query_string"]),
            headers=headers,
            content=request.stream() if has_body(request) else None,
            timeout=httpx.Timeout(60.0, connect=2.0),
        )
        try:
            answer = await self._client.http.send(outgoing, stream=True)
        except httpx.TransportError:
            raise Problem("unavailable", "The files service can't be reached at the moment.") from None
        return _streamed(answer)


def has_body(request: Request) -> bool:
    length = request.headers.get("content-length")
    return "transfer-encoding" in request.headers or (length is not None and length != "0")


def forwarded(raw: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers of a request that go on: none of this hop, none that say who asks, none of our own names."""
    named = {
        part.strip().lower()
        for name, value in raw
        if name == b"connection"
        for part in value.decode("latin-1").split(",")
    }
    dropped = HOP_BY_HOP | _OURS | named
    return [
        (name, value)
        for name, value in raw
        if (text := name.decode("latin-1").lower()) not in dropped and not text.startswith("x-jobyard-")
    ] + [(b"accept-encoding", b"identity")]


def answered(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    """Headers of an answer that go back."""
    named = {part.strip().lower() for part in headers.get("connection", "").split(",")}
    dropped = HOP_BY_HOP | _ANSWERED_BY_US | named
    return [(name.lower(), value) for name, value in headers.raw if name.decode("latin-1").lower() not in dropped]


def _streamed(answer: httpx.Response) -> Response:
    response = StreamingResponse(
        _bytes(answer), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
    )
    response.raw_headers = answered(answer.headers)
    return response


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
