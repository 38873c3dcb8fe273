"""What both drivers share: how httpx is set up, and how a flow is stepped."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Generic, TypeVar

import httpx

from jobyard.client.config import Server
from jobyard.client.effects import Answer, Effect, Flow, Request, Stream
from jobyard.errors import Unreachable

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Done(Generic[T]):
    value: T


@dataclass(frozen=True, eq=False)
class Opened:
    """A response being read; `body` iterates over its bytes, as its driver does."""

    response: httpx.Response
    body: Any

    def stream(self) -> Stream:
        return Stream(self.response.status_code, headers_of(self.response), self)

    @staticmethod
    def of(stream: Stream) -> Opened:
        assert isinstance(stream.handle, Opened)
        return stream.handle


class Stepper(Generic[T]):
    """Runs a flow to its next effect, feeding it the outcome of the last one."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._value: Any = None
        self._error: Exception | None = None

    def next(self) -> Effect | Done[T]:
        value, error = self._value, self._error
        self._value = self._error = None
        try:
            return self._flow.throw(error) if error is not None else self._flow.send(value)
        except StopIteration as end:
            return Done(end.value)

    def succeeded(self, value: object) -> None:
        self._value = value

    def failed(self, error: Exception) -> None:
        self._error = error

    def close(self) -> None:
        self._flow.close()


def client_options(server: Server, *, timeout_s: float) -> dict[str, Any]:
    """Options of an httpx client. Redirects are not followed, as that would show the key to another address; proxy
    settings do not count for this machine; certificates are loaded only where they are needed (30 ms)."""
    headers = {"User-Agent": f"jobyard-python/{_version()}", "Accept": "application/json"}
    if server.api_key:
        headers["Authorization"] = f"Bearer {server.api_key}"
    return {
        "base_url": server.url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
        "follow_redirects": False,
        "trust_env": not server.loopback,
        "verify": server.url.startswith("https:"),
    }


def arguments(request: Request, *, timeout_s: float) -> dict[str, Any]:
    """The arguments of `httpx.Client.build_request`."""
    read_s = request.read_timeout_s or timeout_s
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params or None,
        "headers": dict(request.headers),
        "content": request.content,
        "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s), read=read_s),
    }


def answer_of(response: httpx.Response) -> Answer:
    return Answer(response.status_code, headers_of(response), response.content)


def headers_of(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def unreachable(error: Exception, server: Server) -> Unreachable:
    """A transport's error in words; the request certainly was not sent if there was no connection."""
    sent = not isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol
    )
    if isinstance(error, httpx.TimeoutException):
        what = "does not answer in time"
    elif not sent:
        what = "cannot be reached"
    else:
        what = "broke the connection"
    return Unreachable(f"{server.url} {what} ({_reason(error)})", sent=sent)


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _version() -> str:
    try:
        return version("jobyard")
    except PackageNotFoundError:
        return "0"
