"""Logs, statistics, system and audit: reads of their owners."""

from __future__ import annotations

import msgspec
from fastapi import Request
from starlette.responses import Response

from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.system_status import SystemStatus
from jobyard_gateway.inbound.http.routing import Endpoint, Handler, json_answer
from jobyard_gateway.outbound.monitor import Monitor


class OperationRoutes:
    def __init__(self, monitor: Monitor, system: SystemStatus) -> None:
        self._monitor = monitor
        self._system = system

    def endpoints(self) -> list[Endpoint]:
        system, audit = Permission.SYSTEM_READ, Permission.AUDIT_READ
        table: list[tuple[str, Permission, Handler, str, str]] = [
            ("/v1/logs", system, self._of_monitor("/v1/logs"), "Search service logs", "system"),
            ("/v1/logs/errors", system, self._of_monitor("/v1/logs/errors"), "Recent errors", "system"),
            ("/v1/stats", system, self._of_monitor("/v1/stats"), "Counts of jobs by state and tool", "system"),
            ("/v1/system", system, self.system, "Is everything well?", "system"),
            ("/v1/audit", audit, self._of_monitor("/v1/audit"), "Who did what", "system"),
            ("/v1/me", system, self.me, "Whose key is this?", "system"),
        ]  # fmt: skip
        return [
            Endpoint("GET", path, permission, handler, summary, tag, operation(ok=(200, "Any")))
            for path, permission, handler, summary, tag in table
        ]

    async def system(self, request: Request, principal: Principal) -> Response:
        return json_answer(await self._system.status(principal))

    async def me(self, request: Request, principal: Principal) -> Response:
        body = {
            "tenant_id": principal.tenant,
            "key_id": principal.key_id,
            "role": principal.role,
            "permissions": sorted(principal.permissions),
        }
        return json_answer(msgspec.json.encode(body))

    def _of_monitor(self, path: str) -> Handler:
        async def answer(request: Request, principal: Principal) -> Response:
            return json_answer((await self._monitor.get(path, principal, request.query_params.multi_items())).body)

        return answer
