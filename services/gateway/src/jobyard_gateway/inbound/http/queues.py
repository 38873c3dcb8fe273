"""Queues, routes of tools, limits and workers: operators change them, everybody reads; a tenant limits its own keys."""

from __future__ import annotations

import msgspec
from fastapi import Request
from starlette.responses import Response

from jobyard_gateway.documents.schemas import PAGING
from jobyard_gateway.documents.shapes import Doc, header, operation
from jobyard_gateway.domain.limits import LimitDocument, QueueDocument, RouteDocument, is_own, key_faults
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import page_faults
from jobyard_gateway.handlers.authenticate import allow
from jobyard_gateway.handlers.submit_job import refused
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.owned import Owned, inner_path, no_parameters
from jobyard_gateway.inbound.http.routing import Endpoint

READ, WRITE, OPERATE = Permission.QUEUES_READ, Permission.JOBS_WRITE, Permission.OPERATIONS_ADMIN
QUEUE, LIMIT, WORKER = "/v1/queues/{name}", "/v1/limits/{key}", "/v1/workers/{id}"
_TAGGED = [header("If-Match", "The ETag that was read; 412 when it has changed since.")]


class QueueRoutes:
    def __init__(self, owned: Owned) -> None:
        self._owned = owned

    def endpoints(self) -> list[Endpoint]:
        owned, queue, worker = self._owned, (200, "Queue"), (200, "Worker")
        return [
            owned.endpoint("GET", "/v1/queues", READ, "List queues", tag="queues", ok=(200, "QueuePage")),
            owned.endpoint("GET", QUEUE, READ, "Get a queue", tag="queues", ok=queue),
            owned.endpoint(
                "PATCH", QUEUE, OPERATE, "Change a queue", tag="queues", ok=queue, body=QueueDocument,
                schema="QueueChange", parameters=_TAGGED,
            ),
            owned.endpoint(
                "POST", f"{QUEUE}/pause", OPERATE, "Start no more of its jobs", tag="queues", ok=queue,
                parameters=_TAGGED,
            ),
            owned.endpoint(
                "POST", f"{QUEUE}/resume", OPERATE, "Take jobs and start them again", tag="queues", ok=queue,
                parameters=_TAGGED,
            ),
            owned.endpoint(
                "POST", f"{QUEUE}/drain", OPERATE, "Take no more jobs, run those that wait", tag="queues", ok=queue,
                parameters=_TAGGED,
            ),
            owned.endpoint("GET", "/v1/routes", READ, "List routes of tools", tag="queues", ok=(200, "RoutePage")),
            owned.endpoint(
                "PUT", "/v1/routes/{tool}", OPERATE, "Send jobs of a tool to a queue", tag="queues",
                ok=(200, "Route"), body=RouteDocument, schema="NewRoute",
            ),
            owned.endpoint("DELETE", "/v1/routes/{tool}", OPERATE, "Forget a route", tag="queues", ok=(204, None)),
            Endpoint("GET", "/v1/limits", READ, self.limits, "List limits", "limits",
                     operation(ok=(200, "LimitPage"), parameters=PAGING)),
            Endpoint("GET", LIMIT, READ, self.limit, "Get a limit and who holds it", "limits", _limit(200)),
            Endpoint("PUT", LIMIT, WRITE, self.put_limit, "Put a limit on a key", "limits",
                     _limit(200, body="NewLimit", parameters=_TAGGED)),
            Endpoint("DELETE", LIMIT, WRITE, self.delete_limit, "Take a limit away", "limits",
                     operation(ok=(204, None), parameters=_TAGGED)),
            owned.endpoint("GET", "/v1/workers", READ, "List workers", tag="workers", ok=(200, "WorkerPage")),
            owned.endpoint("GET", WORKER, READ, "Get a worker and what it runs", tag="workers", ok=worker),
            owned.endpoint("POST", f"{WORKER}/drain", OPERATE, "Let it claim nothing more", tag="workers", ok=worker),
            owned.endpoint("POST", f"{WORKER}/resume", OPERATE, "Let it work again", tag="workers", ok=worker),
        ]  # fmt: skip

    async def limits(self, request: Request, principal: Principal) -> Response:
        pairs = request.query_params.multi_items()
        if faults := page_faults(pairs):
            raise refused(faults)
        return await self._owned.ask(
            "GET", "/internal/v1/limits", principal, request, params=[*pairs, *_scope(principal)], content=None
        )

    async def limit(self, request: Request, principal: Principal) -> Response:
        return await self._send("GET", request, principal, None)

    async def put_limit(self, request: Request, principal: Principal) -> Response:
        self._allow(request, principal)
        body = await json_body(request, LimitDocument)
        return await self._send("PUT", request, principal, msgspec.json.encode(body))

    async def delete_limit(self, request: Request, principal: Principal) -> Response:
        self._allow(request, principal)
        return await self._send("DELETE", request, principal, None)

    def _allow(self, request: Request, principal: Principal) -> None:
        """Raises Problem: forbidden, for what holds for everybody."""
        if not is_own(request.path_params["key"]):
            allow(principal, OPERATE)

    async def _send(self, method: str, request: Request, principal: Principal, content: bytes | None) -> Response:
        faults = [*no_parameters(request.query_params.multi_items()), *key_faults(request.path_params["key"])]
        if faults:
            raise refused(faults)
        inner = inner_path(LIMIT, request)
        return await self._owned.ask(method, inner, principal, request, params=_scope(principal), content=content)


def _scope(principal: Principal) -> list[tuple[str, str]]:
    """Operators see the limits of every tenant."""
    return [("scope", "all")] if OPERATE in principal.permissions else []


def _limit(status: int, *, body: str | None = None, parameters: list[Doc] | None = None) -> Doc:
    return operation(ok=(status, "Limit"), body=body, parameters=parameters)
