"""From an HTTP answer to a document or an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobyard.client.effects import Answer, Request
from jobyard.errors import BY_CODE, Problem, Refused, UnexpectedAnswer

Document = dict[str, Any]

_CODE_OF_STATUS = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    410: "gone",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


def document_of(answer: Answer, request: Request) -> Document:
    """The JSON object of a good answer; integers stay exact. Raises UnexpectedAnswer."""
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise _unexpected(answer, request) from None
    if not isinstance(document, dict):
        raise _unexpected(answer, request)
    return document


def check_redirect(answer: Answer, request: Request) -> None:
    """Raises UnexpectedAnswer for a redirect: following one would show the API key to another address."""
    if answer.status < 400:
        where = answer.headers.get("location", "elsewhere")
        raise UnexpectedAnswer(f"{request.method} {request.path}: the server redirects to {where}; use that address")


def refusal(answer: Answer, request: Request, *, idempotency_key: str | None = None) -> Refused:
    problem = _problem(answer, request)
    kind = BY_CODE.get(problem.code, Refused)
    return kind(problem, retry_after_s=retry_after(answer.headers), idempotency_key=idempotency_key)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header; a date counts as none."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def _problem(answer: Answer, request: Request) -> Problem:
    document: Any = None
    if answer.headers.get("content-type", "").startswith(("application/problem+json", "application/json")):
        try:
            document = json.loads(answer.content)
        except (ValueError, RecursionError):
            document = None
    if not isinstance(document, dict):
        document = {}
    code = document.get("code")
    errors = document.get("errors")
    return Problem(
        status=answer.status,
        code=code if isinstance(code, str) else _CODE_OF_STATUS.get(answer.status, f"http_{answer.status}"),
        title=_text(document.get("title")),
        detail=_text(document.get("detail")) or f"{request.method} {request.path} was answered with {answer.status}",
        retryable=document.get("retryable") is True,
        errors=tuple(row for row in errors if isinstance(row, dict)) if isinstance(errors, list) else (),
        trace_id=_text(document.get("trace_id")) or None,
        correlation_id=_text(document.get("correlation_id")) or None,
        document=document,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _unexpected(answer: Answer, request: Request) -> UnexpectedAnswer:
    kind = answer.headers.get("content-type", "no content type").partition(";")[0]
    return UnexpectedAnswer(
        f"{request.method} {request.path}: {answer.status} with {kind} is no answer of Jobyard; is the address right?"
    )
