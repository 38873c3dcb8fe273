"""`GET /v1/events`: what happens to all jobs of a tenant."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from jobyard_gateway.documents import schemas as doc
from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import event_list_faults
from jobyard_gateway.handlers.follow_tenant import TenantStreams
from jobyard_gateway.handlers.submit_job import refused
from jobyard_gateway.inbound.http.routing import Endpoint, json_answer, wants_stream
from jobyard_gateway.inbound.http.streams import HEADERS

PAGE = 50


class EventRoutes:
    def __init__(self, streams: TenantStreams) -> None:
        self._streams = streams

    def endpoints(self) -> list[Endpoint]:
        parameters = doc.JOB_FILTERS + doc.PAGING
        described = operation(ok=(200, "JobChangePage"), parameters=parameters, stream=True)
        return [
            Endpoint(
                "GET",
                "/v1/events",
                Permission.JOBS_READ,
                self.events,
                "What happens to jobs, or its live stream (SSE)",
                "jobs",
                described,
            )
        ]

    async def events(self, request: Request, principal: Principal) -> Response:
        pairs = request.query_params.multi_items()
        if faults := event_list_faults(pairs):
            raise refused(faults)
        query = dict(pairs)
        filters = [(name, value) for name, value in pairs if name not in ("cursor", "limit")]
        cursor = query.get("cursor")
        if not wants_stream(request):
            limit = int(query.get("limit", PAGE))
            return json_answer(await self._streams.page(principal, filters, cursor=cursor, limit=limit))
        last = request.headers.get("last-event-id") or cursor
        frames = await self._streams.open(principal, filters, last_event_id=last)
        return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)
