"""Resources that the executor owns: the gateway checks who asks and what is sent, the executor answers.

They are administration, not jobs: one call, one transaction there (ADR 7). While the executor is away they are 503.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import msgspec
from fastapi import Request
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from starlette.responses import Response

from jobyard_gateway.documents.shapes import Doc, operation
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.submit_job import refused
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.routing import Endpoint, Handler, json_answer
from jobyard_gateway.outbound.answers import problem_of
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.executor import Executor

Pairs = list[tuple[str, str]]
Check = Callable[[Pairs], list[Fault]]
_PASSED_ON = ("etag", "location", "x-jobyard-stale", "idempotency-replayed", "retry-after")
_BROUGHT = ("if-match", "idempotency-key")


def no_parameters(pairs: Pairs) -> list[Fault]:
    """The check of a call that takes no query parameters."""
    return [Fault(name[:128], "Unknown parameter.") for name, _ in pairs]


class Owned:
    """Makes endpoints that ask the executor under the same path, with `/internal` before it."""

    def __init__(self, executor: Executor, barrier: Barrier) -> None:
        self._executor = executor
        self._barrier = barrier

    def endpoint(
        self,
        method: str,
        path: str,
        permission: Permission,
        summary: str,
        *,
        tag: str,
        ok: tuple[int, str | None] = (200, "Any"),
        body: type[msgspec.Struct] | None = None,
        schema: str | None = None,
        optional_body: bool = False,
        check: Check = no_parameters,
        parameters: list[Doc] | None = None,
    ) -> Endpoint:
        """`body` is checked here, all faults at once, and sent on in its canonical form; `schema` documents it."""
        handler = self._handler(method, path, body, optional_body=optional_body, check=check)
        doc = operation(ok=ok, parameters=parameters, body=schema)
        return Endpoint(method, path, permission, handler, summary, tag, doc)

    def _handler(
        self, method: str, path: str, shape: type[msgspec.Struct] | None, *, optional_body: bool, check: Check
    ) -> Handler:
        async def answer(request: Request, principal: Principal) -> Response:
            pairs = request.query_params.multi_items()
            if faults := check(pairs):
                raise refused(faults)
            content = None
            if shape is not None:
                body = await json_body(request, shape, optional=optional_body)
                content = msgspec.json.encode(body if body is not None else {})
            return await self.ask(method, inner_path(path, request), principal, request, params=pairs, content=content)

        return answer

    async def ask(
        self, method: str, path: str, principal: Principal, request: Request, *, params: Pairs, content: bytes | None
    ) -> Response:
        """One call to the executor, its answer or refusal as ours.

        Raises:
            Problem: what the executor refused, or `unavailable`.
        """
        headers = {name: request.headers[name] for name in _BROUGHT if name in request.headers}
        after = await self._barrier.header(principal.tenant)
        try:
            found = await self._executor.ask(
                method, path, principal=principal, after=after, params=params, content=content, headers=headers
            )
        except ServiceAway:
            raise Problem("unavailable", "The executor can't be asked at the moment.") from None
        if found.status_code >= 400:
            raise problem_of(found)
        passed = {name: found.headers[name] for name in _PASSED_ON if name in found.headers}
        if found.status_code == 204:
            return Response(status_code=204, headers=passed)
        return json_answer(found.content, status=found.status_code, headers=passed)


def inner_path(path: str, request: Request) -> str:
    """The executor's path; what the caller wrote stays one segment."""
    filled = path
    for name, value in request.path_params.items():
        if not value or len(value) > 256 or value in (".", "..") or not value.isprintable() or "/" in value:
            raise Problem("not_found")
        filled = filled.replace("{" + name + "}", quote(value, safe=""))
    return f"/internal{filled}"
