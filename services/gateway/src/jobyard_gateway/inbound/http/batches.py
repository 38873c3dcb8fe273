"""`POST /v1/job-batches`."""

from __future__ import annotations

from fastapi import Request
from jobyard_common.http.context import current
from starlette.responses import Response

from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.limit import UNLIMITED, Limiter
from jobyard_gateway.handlers.submit_batch import MAX_BATCH_BYTES, PATH, BatchSubmitter
from jobyard_gateway.handlers.submit_job import Origin
from jobyard_gateway.inbound.http.bodies import read_body, require_json
from jobyard_gateway.inbound.http.routing import Endpoint, json_answer
from jobyard_gateway.outbound.executor import actor_of


class BatchRoutes:
    def __init__(self, batches: BatchSubmitter, limiter: Limiter = UNLIMITED) -> None:
        self._batches = batches
        self._limiter = limiter

    def endpoints(self) -> list[Endpoint]:
        described = operation(ok=(202, "BatchAnswer"), body="Batch")
        return [Endpoint("POST", PATH, Permission.JOBS_WRITE, self.submit, "Submit many jobs", "jobs", described)]

    async def submit(self, request: Request, principal: Principal) -> Response:
        headers = request.headers
        require_json(headers.get("content-type", "").encode(), headers.get("content-encoding", "").encode())
        body = await read_body(request.scope, request.receive, limit=MAX_BATCH_BYTES)
        context = current()
        origin = Origin(principal.tenant, actor_of(principal), context.correlation_id, context.trace)

        async def count(items: int) -> None:
            # One was counted at the door.
            if items > 1 and self._limiter.active:
                await self._limiter.check(principal, "submit", cost=items - 1)

        return json_answer(await self._batches.submit(body, origin, on_count=count), status=202)
