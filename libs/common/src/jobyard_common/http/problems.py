"""Refusals as `application/problem+json` (RFC 9457), one shape for every service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from jobyard_common.http.context import current
from jobyard_common.telemetry.logging import get_logger

log = get_logger("http")
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Code:
    """One kind of refusal. `retryable` says that the very same request may succeed later."""

    status: int
    title: str
    meaning: str
    retryable: bool = False


CODES: dict[str, Code] = {
    "unauthenticated": Code(401, "Who are you?", "The request has no valid API key. Send it as a bearer token."),
    "forbidden": Code(403, "Not allowed", "The key is valid, but its scopes do not cover this call."),
    "not_found": Code(404, "Not found", "There is no such thing, or it belongs to another tenant."),
    "method_not_allowed": Code(405, "Method not allowed", "This address exists, but not for this method."),
    "not_acceptable": Code(406, "Not acceptable", "None of the accepted media types can be produced."),
    "gone": Code(410, "Gone", "It was here once and was deleted."),
    "job_finished": Code(409, "The job is finished", "A finished job never changes."),
    "job_not_finished": Code(409, "The job is not finished", "This needs a finished job.", retryable=True),
    "conflict": Code(409, "Conflict", "The state of the thing does not allow this."),
    "precondition_failed": Code(412, "Precondition failed", "A condition in the headers does not hold."),
    "payload_too_large": Code(413, "Too large", "The body or the declared size is above the limit."),
    "unsupported_media_type": Code(415, "Unsupported media type", "Send JSON in UTF-8, not compressed."),
    "range_not_satisfiable": Code(416, "Range not satisfiable", "The range lies beyond the end."),
    "malformed_json": Code(400, "Malformed JSON", "The body is not a JSON document that every parser reads alike."),
    "bad_request": Code(400, "Bad request", "The request breaks the rules of its protocol."),
    "validation_failed": Code(422, "Validation failed", "Each wrong value is listed with its JSON pointer."),
    "unknown_tool": Code(422, "Unknown tool", "No tool of this name is registered."),
    "idempotency_conflict": Code(422, "Key used before", "This idempotency key belongs to another request."),
    "rate_limited": Code(429, "Too many requests", "Slow down; Retry-After says for how long.", retryable=True),
    "queue_full": Code(429, "Queue full", "Too many jobs of this tenant wait already.", retryable=True),
    "queue_draining": Code(
        409, "Queue draining", "The queue takes no new jobs for now; those that wait in it still run.", retryable=True
    ),
    "internal": Code(500, "Our mistake", "Something broke here; the trace id helps to find it.", retryable=True),
    "not_implemented": Code(501, "Not implemented", "This part of the API is not available in this version."),
    "unavailable": Code(503, "Unavailable", "What this needs is away for the moment.", retryable=True),
    "insufficient_storage": Code(507, "Disk full", "There is no room for these bytes.", retryable=True),
}
_BY_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    400: "bad_request",
    413: "payload_too_large",
    406: "not_acceptable",
}


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one value; `pointer` is an RFC 6901 pointer into the body, or the name of a parameter."""

    pointer: str
    message: str


class Problem(Exception):
    """A refusal that the caller shall understand. Raised anywhere, rendered at the edge."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail or CODES[code].meaning)
        self.code = code
        self.detail = detail or CODES[code].meaning
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        self.status = status or CODES[code].status


def document(problem: Problem, *, instance: str) -> dict[str, Any]:
    """The members of the answer; ids come from the current request."""
    known = CODES[problem.code]
    context = current()
    return {
        "type": f"/problems/{problem.code}",
        "title": known.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "errors": [{"pointer": row.pointer, "message": row.message} for row in problem.errors],
        "trace_id": context.trace.trace_id,
        "correlation_id": context.correlation_id,
        "retryable": known.retryable,
        **problem.extra,
    }


def render(problem: Problem, *, instance: str) -> Response:
    headers = dict(problem.headers)
    if problem.status == 503:
        headers.setdefault("Retry-After", "2")
    if problem.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    body = msgspec.json.encode(document(problem, instance=instance))
    return Response(body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def from_status(status: int, detail: str = "") -> Problem:
    code = _BY_STATUS.get(status, "internal" if status >= 500 else "bad_request")
    return Problem(code, detail, status=status)


def install(app: Starlette) -> None:
    """Answer every exception of this app with a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_error)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return render(error, instance=request.url.path)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = from_status(error.status_code)
    problem.headers.update(error.headers or {})
    return render(problem, instance=request.url.path)


async def _on_error(request: Request, error: Exception) -> Response:
    log.error("request.failed", path=request.url.path, method=request.method, exc_info=error)
    return render(Problem("internal"), instance=request.url.path)
