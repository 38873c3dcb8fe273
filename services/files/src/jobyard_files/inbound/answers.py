"""How outcomes look on the wire: files as JSON, refusals as problem documents, contents as streams."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import msgspec
from jobyard_common.contracts.wire import rfc3339
from jobyard_common.db.errors import is_retryable
from jobyard_common.http.context import current
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem, render
from jobyard_common.telemetry.logging import get_logger
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobyard_files.domain import content_types
from jobyard_files.domain.cause import Cause
from jobyard_files.domain.file import File
from jobyard_files.domain.refusals import RETRYABLE, Refusal, Refused
from jobyard_files.handlers.append_upload import NO_SPACE
from jobyard_files.handlers.read_content import Content
from jobyard_files.outbound.disk import BlobMissing

log = get_logger("http")
Endpoint = Callable[[Request], Awaitable[Response]]
SEND_BYTES = 512 * 1024
_CODES = {
    Refusal.TUS_VERSION: "precondition_failed",
    Refusal.MALFORMED_HEADER: "bad_request",
    Refusal.OFFSET_MISMATCH: "conflict",
    Refusal.TAKEN_OVER: "conflict",
    Refusal.LOCKED: "conflict",
    Refusal.CHECKSUM: "bad_request",
    Refusal.INCOMPLETE: "conflict",
    Refusal.IN_USE: "conflict",
    Refusal.TOO_MANY: "rate_limited",
}
"""Codes of the API's catalogue for refusals that only files have; `reason` in the problem tells them apart."""


def problem_of(refused: Refused) -> Problem:
    code = _CODES.get(refused.reason, str(refused.reason))
    errors = [FieldError(refused.pointer, refused.detail)] if refused.pointer else []
    extra: dict[str, Any] = {"retryable": True} if refused.reason in RETRYABLE else {}
    if code != refused.reason:
        extra["reason"] = str(refused.reason)
    return Problem(code, refused.detail, errors=errors, headers=refused.headers, extra=extra, status=refused.status)


def guarded(endpoint: Endpoint) -> Endpoint:
    """Turn refusals into their answers, and servers of ours that are away into 503: never a 500 for either."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return render(problem_of(refused), instance=request.url.path)
        except BlobMissing as error:
            log.error("blob.missing", name=str(error), path=request.url.path)
            problem = Problem("unavailable", "The bytes of this file cannot be reached.")
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                problem = Problem("insufficient_storage", "The server's disk is full.")
            elif is_retryable(error):
                problem = Problem("unavailable", "What this needs is away for the moment.")
            else:
                raise
            log.error("request.interrupted", path=request.url.path, error=f"{type(error).__name__}: {error}"[:300])
        return render(problem, instance=request.url.path)

    return answer


def cause_of(request: Request) -> Cause:
    """The caller of this request, in the trace of this request."""
    context = current()
    return Cause(caller(request).actor, context.correlation_id, context.trace.format())


def public_base(request: Request, default: str) -> str:
    """The gateway as the client sees it. Only services of ours reach us, so their header is believed."""
    given = request.headers.get("x-jobyard-public-url", "").rstrip("/")
    return given if given.startswith(("http://", "https://")) else default


def shown(file: File, *, base: str) -> dict[str, Any]:
    """The file as the API shows it."""
    return {
        "id": file.id,
        "name": file.name,
        "size": file.size,
        "sha256": file.sha256,
        "content_type": file.content_type or content_types.UNKNOWN,
        "state": str(file.state),
        "received": file.received,
        "created_at": rfc3339(file.created_at),
        "completed_at": rfc3339(file.completed_at) if file.completed_at else None,
        "expires_at": rfc3339(file.expires_at) if file.expires_at else None,
        "job_id": file.job_id,
        "links": {"self": f"{base}/v1/files/{file.id}", "content": f"{base}/v1/files/{file.id}/content"},
    }


def json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, headers=headers, media_type="application/json")


class ContentStream(Response):
    """Sends a `Content` and closes it, whatever becomes of the client."""

    def __init__(self, content: Content, threads: Executor, *, head: bool) -> None:
        self._content = content
        self._threads = threads
        self._head = head
        self.status_code = content.status
        self.background: BackgroundTask | None = None
        self.init_headers(dict(content.headers))

    def init_headers(self, headers: Any = None) -> None:
        self.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = asyncio.create_task(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            position = self._content.first
            end = position if self._head else position + self._content.length
            while position < end and not watching.done():
                piece = await self._read(min(SEND_BYTES, end - position), position)
                if not piece:
                    raise BlobMissing("a blob is shorter than its file")
                position += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watching.cancel()
            self._content.close()

    async def _read(self, count: int, position: int) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, os.pread, self._content.descriptor, count, position)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
