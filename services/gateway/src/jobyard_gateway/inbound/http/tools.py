"""The tool registry."""

from __future__ import annotations

import msgspec
from fastapi import Request
from jobyard_common.contracts.jobs import PARAMETERS_SLOT
from jobyard_common.http.problems import Problem
from starlette.responses import Response

from jobyard_gateway.documents import schemas as doc
from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import page_faults
from jobyard_gateway.domain.tools import Registry, Tool
from jobyard_gateway.handlers.submit_job import refused
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.routing import Endpoint, json_answer
from jobyard_gateway.outbound.workers import Workers


class _ValidateBody(msgspec.Struct, forbid_unknown_fields=True):
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    files: dict[str, str] | None = None


class ToolRoutes:
    def __init__(self, registry: Registry, workers: Workers) -> None:
        self._registry = registry
        self._workers = workers

    def endpoints(self) -> list[Endpoint]:
        read, one = Permission.TOOLS_READ, "/v1/tools/{name}"
        return [
            Endpoint(
                "GET",
                "/v1/tools",
                read,
                self.list,
                "List tools",
                "tools",
                operation(ok=(200, "ToolPage"), parameters=doc.PAGING),
            ),
            Endpoint("GET", one, read, self.get, "Get a tool", "tools", operation(ok=(200, "Tool"))),
            Endpoint(
                "POST",
                f"{one}/validate",
                read,
                self.validate,
                "Check parameters without running anything",
                "tools",
                operation(ok=(200, "Valid"), body="Validate"),
            ),
        ]

    async def list(self, request: Request, principal: Principal) -> Response:
        pairs = request.query_params.multi_items()
        if faults := page_faults(pairs):
            raise refused(faults)
        query = dict(pairs)
        limit, after = int(query.get("limit", "100")), query.get("cursor", "")
        tools = [tool for tool in self._registry.latest() if tool.definition.name > after]
        page = tools[:limit]
        more = len(tools) > limit
        body = {
            "data": [self._view(tool) for tool in page],
            "next_cursor": page[-1].definition.name if more else None,
            "has_more": more,
        }
        return json_answer(msgspec.json.encode(body))

    async def get(self, request: Request, principal: Principal) -> Response:
        tool = self._found(request)
        versions = self._registry.versions(tool.definition.name)
        return json_answer(msgspec.json.encode({**self._view(tool), "versions": versions}))

    async def validate(self, request: Request, principal: Principal) -> Response:
        tool = self._found(request)
        body = await json_body(request, _ValidateBody)
        assert body is not None
        parameters = msgspec.json.decode(body.parameters)
        if not isinstance(parameters, dict):
            raise refused([Fault("/parameters", "Expected an object.")])
        by_file = body.files is not None and PARAMETERS_SLOT in body.files
        faults = [] if by_file else tool.faults(parameters)
        if body.files is not None:
            faults += tool.slot_faults(body.files)
        if faults:
            raise refused(faults)
        return json_answer(b'{"valid":true}')

    def _found(self, request: Request) -> Tool:
        tool = self._registry.find(request.path_params["name"])
        if tool is None:
            raise Problem("not_found", "No tool of this name is registered.")
        return tool

    def _view(self, tool: Tool) -> dict[str, object]:
        known = tool.definition
        return {
            "name": known.name,
            "version": known.version,
            "title": known.title,
            "description": known.description,
            "parameters_schema": known.parameters_schema,
            "queue": known.queue,
            "isolation": known.isolation,
            "min_isolation": known.min_isolation,
            "defaults": {"timeout_s": known.timeout_s, "soft_timeout_s": known.soft_timeout_s, "retry": known.retry},
            "limits": known.limits,
            "slots": known.slots,
            "examples": known.examples,
            "cache_ttl_s": known.cache_ttl_s,
            "batch": known.batch or None,
            "workers": self._workers.alive(known.key),
        }
