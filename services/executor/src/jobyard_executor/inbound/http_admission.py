"""What the gateway asks before it lets more jobs in."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.http.internal import caller
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.http_parts import get
from jobyard_executor.store.admission import WaitingCounts


class AdmissionApi:
    """`count` names the count; the tenant's number is of its own jobs, those of queues are of all tenants."""

    def __init__(self, counts: WaitingCounts) -> None:
        self._counts = counts

    def routes(self) -> Sequence[Route]:
        return [get("/admission", self.show)]

    async def show(self, request: Request) -> Response:
        found = await self._counts.now()
        queues = {
            name: {"waiting": found.by_queue.get(name, 0), "max_waiting": limit} for name, limit in found.limits.items()
        }
        waiting = found.by_tenant.get(caller(request).tenant, 0)
        return shapes.answer({"count": found.number, "waiting": waiting, "queues": queues})
