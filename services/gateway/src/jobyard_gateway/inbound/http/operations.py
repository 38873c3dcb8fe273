"""Queues, workers, logs, statistics, system and audit: reads of their owners."""

from __future__ import annotations

import msgspec
from fastapi import Request
from jobyard_common.http.problems import Problem
from starlette.responses import Response

from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.read_jobs import JobReader
from jobyard_gateway.handlers.system_status import SystemStatus
from jobyard_gateway.inbound.http.routing import Endpoint, Handler, json_answer
from jobyard_gateway.outbound.monitor import Monitor


class OperationRoutes:
    def __init__(self, reader: JobReader, monitor: Monitor, system: SystemStatus) -> None:
        self._reader = reader
        self._monitor = monitor
        self._system = system

    def endpoints(self) -> list[Endpoint]:
        queues, system, audit = Permission.QUEUES_READ, Permission.SYSTEM_READ, Permission.AUDIT_READ
        table: list[tuple[str, Permission, Handler, str, str]] = [
            ("/v1/queues", queues, self._of_executor("/internal/v1/queues"), "List queues", "queues"),
            ("/v1/queues/{name}", queues, self.queue, "Get a queue", "queues"),
            ("/v1/workers", queues, self._of_executor("/internal/v1/workers"), "List workers", "queues"),
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

    async def queue(self, request: Request, principal: Principal) -> Response:
        name = request.path_params["name"]
        if not all(character.isalnum() or character in "._-" for character in name) or len(name) > 128:
            raise Problem("not_found")
        return json_answer((await self._reader.plain(f"/internal/v1/queues/{name}", principal)).body)

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

    def _of_executor(self, path: str) -> Handler:
        async def answer(request: Request, principal: Principal) -> Response:
            return json_answer((await self._reader.plain(path, principal, request.query_params.multi_items())).body)

        return answer

    def _of_monitor(self, path: str) -> Handler:
        async def answer(request: Request, principal: Principal) -> Response:
            return json_answer((await self._monitor.get(path, principal, request.query_params.multi_items())).body)

        return answer
