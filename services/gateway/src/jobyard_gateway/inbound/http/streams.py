"""Server-sent events over HTTP."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.handlers.follow_job import Streams

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def stream_answer(streams: Streams, request: Request, principal: Principal, *, only_logs: bool) -> Response:
    """Raises Problem before the stream begins; afterwards a stream just ends and the client resumes."""
    frames = await streams.open(
        request.path_params["job_id"],
        principal,
        last_event_id=request.headers.get("last-event-id"),
        only_logs=only_logs,
    )
    return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)
