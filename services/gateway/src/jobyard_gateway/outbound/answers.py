"""What another service said: a body to pass on, or a refusal to repeat."""

from __future__ import annotations

from typing import NamedTuple

import httpx
import msgspec
from jobyard_common.http.problems import CODES, FieldError, Problem


class Answer(NamedTuple):
    """A body and the headers that go with it."""

    body: bytes
    headers: dict[str, str]


class _ProblemBody(msgspec.Struct):
    code: str = "internal"
    detail: str = ""
    errors: list[dict[str, str]] = []


def problem_of(answer: httpx.Response) -> Problem:
    """The refusal of another service as one of ours."""
    try:
        body = msgspec.json.decode(answer.content, type=_ProblemBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = _ProblemBody()
    code = body.code if body.code in CODES else "internal"
    if code == "internal":
        return Problem("unavailable", "Another service could not answer.")
    errors = [FieldError(row.get("pointer", ""), row.get("message", "")) for row in body.errors]
    return Problem(code, body.detail, errors=errors)
