"""What every part of the executor's HTTP is made with: guarded routes, checked bodies and parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from jobyard_common.db.errors import is_retryable
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T", bound=msgspec.Struct)
BASE = "/internal/v1"


class Part(Protocol):
    """Routes of one resource."""

    def routes(self) -> Sequence[Route]: ...


def get(path: str, endpoint: Endpoint) -> Route:
    return _route("GET", path, endpoint)


def post(path: str, endpoint: Endpoint) -> Route:
    return _route("POST", path, endpoint)


def put(path: str, endpoint: Endpoint) -> Route:
    return _route("PUT", path, endpoint)


def patch(path: str, endpoint: Endpoint) -> Route:
    return _route("PATCH", path, endpoint)


def delete(path: str, endpoint: Endpoint) -> Route:
    return _route("DELETE", path, endpoint)


def _route(method: str, path: str, endpoint: Endpoint) -> Route:
    """`path` follows `/internal/v1`."""
    return Route(f"{BASE}{path}", guarded(endpoint), methods=[method])


def guarded(endpoint: Endpoint) -> Endpoint:
    """A database that is away is 503, not our mistake."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Problem:
            raise
        except Exception as error:
            if not is_retryable(error):
                raise
            raise Problem("unavailable", "The job store is away for the moment.") from error

    return answer


async def body_of(request: Request, shape: type[T]) -> T:
    """The JSON body as `shape`.

    Raises:
        Problem: malformed_json or validation_failed.
    """
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except msgspec.ValidationError as error:
        raise Problem("validation_failed", str(error), errors=[FieldError("", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed_json", str(error)) from None


def number(request: Request, name: str) -> int | None:
    """A whole number of at most nine digits among the query parameters, None if it is not there."""
    text: Any = request.query_params.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem("validation_failed", errors=[FieldError(name, "must be a whole number")])
    return int(text)
