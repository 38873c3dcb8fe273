"""`POST /v1/job-batches`."""

from __future__ import annotations

from fastapi import Request
from jobyard_common.http.context import current
from starlette.responses import Response

from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.submit_batch import MAX_BATCH_BYTES, PATH, BatchSubmitter
from jobyard_gateway.handlers.submit_job import Origin
from jobyard_gateway.inbound.http.bodies import read_body, require_json
from jobyard_gateway.inbound.http.routing import Endpoint, json_answer
from jobyard_gateway.outbound.executor import actor_of


class BatchRoutes:
    def __init__(self, batches: BatchSubmitter) -> None:
        self._batches = batches

    def endpoints(self) -> list[Endpoint]:
        described = operation(ok=(202, "BatchAnswer"), body="Batch")
        return [Endpoint("POST", PATH, Permission.JOBS_WRITE, self.submit, "Submit many jobs", "jobs", described)]

    async def submit(self, request: Request, principal: Principal) -> Response:
        headers = request.headers
        require_json(headers.get("content-type", "").encode(), headers.get("content-encoding", "").encode())
        body = await read_body(request.scope, request.receive, limit=MAX_BATCH_BYTES)
        context = current()
        origin = Origin(principal.tenant, actor_of(principal), context.correlation_id, context.trace)
        return json_answer(await self._batches.submit(body, origin), status=202)
