"""The door is there before the house: while PostgreSQL is away at the start, whoever calls is told so and waits."""

from __future__ import annotations

import msgspec
from jobyard_common.http.context import App, Receive, RequestContextMiddleware, Scope, Send
from jobyard_common.http.problems import Problem, render
from jobyard_common.http.server import HttpServer
from jobyard_common.telemetry.tracing import Tracer
from starlette.responses import Response

_DOWN = {"status": "down", "checks": {"database": {"status": "down", "detail": "PostgreSQL was not reached yet"}}}


async def _not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path == "/livez":
        answer = _json(200, {"status": "ok"})
    elif path == "/readyz":
        answer = _json(503, {**_DOWN, "draining": False})
    elif path == "/startupz":
        answer = _json(503, {"status": "starting"})
    else:
        answer = render(Problem("unavailable", "The gateway is starting and waits for its database."), instance=path)
    await answer(scope, receive, send)


def _json(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


class Door(HttpServer):
    """Listens from its first start on; leads inside from the start that follows `lead_to`."""

    def __init__(self, *, host: str, port: int, instance: str) -> None:
        super().__init__(self._enter, host=host, port=port)
        self._outside: App = RequestContextMiddleware(
            _not_yet, tracer=Tracer("gateway", instance=instance), trust_inbound=False
        )
        self._inside: App | None = None
        self._open: App | None = None
        self._listening = False

    def lead_to(self, app: App) -> None:
        self._inside = app

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        if not self._listening:
            await super().start()
            self._listening = True
        self._open = self._inside

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._open or self._outside)(scope, receive, send)
