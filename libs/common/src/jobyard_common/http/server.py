"""uvicorn with httptools, and a guard in front of the parser.

httptools is the strictest parser we know of, but knows no limit and no deadline: 10,000 headers or one byte a minute
are fine with it. The guard counts the bytes of a head and closes what takes too long. A body has no deadline of its
own (uploads are slow), but must keep moving.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from jobyard_common.http.one_write import OneWrite
from jobyard_common.runtime.supervisor import Component

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
HEAD_DEADLINE_S = 10.0
BODY_IDLE_S = 20.0
CHECK_EVERY_S = 5.0


class GuardProtocol(HttpToolsProtocol):
    """One connection; a single timer looks at it now and then."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._in_head = True
        self._head_bytes = 0
        self._head_since = self._moved = self.loop.time()
        self._guard = self.loop.call_later(CHECK_EVERY_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._moved = self.loop.time()
        if self._in_head:
            if self._head_bytes == 0:
                self._head_since = self._moved
            self._head_bytes += len(data)
            if (
                self._head_bytes > MAX_HEAD_BYTES
                and b"\r\n\r\n" not in data[: MAX_HEAD_BYTES + len(data) - self._head_bytes]
            ):
                self.send_400_response("The head of the request is too large.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        head_bytes, self._head_bytes = self._head_bytes, 0
        # What came over the wire holds the head and perhaps more; only a long one needs to be counted exactly.
        if len(self.headers) > MAX_HEADERS or (
            head_bytes > MAX_HEAD_BYTES and sum(len(n) + len(v) for n, v in self.headers) > MAX_HEAD_BYTES
        ):
            self.send_400_response("The head of the request is too large.")
            return
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.send = OneWrite(cycle)  # type: ignore[method-assign,assignment]
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _look(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        now = self.loop.time()
        reading_body = self.cycle is not None and self.cycle.more_body and not self.flow.read_paused
        if (self._in_head and self._head_bytes and now - self._head_since > HEAD_DEADLINE_S) or (
            reading_body and now - self._moved > BODY_IDLE_S
        ):
            self.transport.close()
            return
        self._guard = self.loop.call_later(CHECK_EVERY_S, self._look)


class _Server(uvicorn.Server):
    """The supervisor owns the signals, not the web server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer(Component):
    """Serves an ASGI app. It listens as soon as it starts and finishes open requests when it drains."""

    name = "http"

    def __init__(self, app: Any, *, host: str, port: int, grace_s: int = 5) -> None:
        super().__init__()
        self._app = app
        self._host = host
        self.port = port
        self._grace_s = grace_s
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        listener = _listener(self._host, self.port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=GuardProtocol,
            interface="asgi3",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=self._grace_s,
            backlog=2048,
        )
        self._server = _Server(config)
        self._serving = self.spawn(self._serve(listener), name="serve")
        while not self._server.started:
            if self._serving.done():
                raise OSError(f"no server on {self._host}:{self.port}")
            await asyncio.sleep(0.005)

    async def _serve(self, listener: socket.socket) -> None:
        assert self._server is not None
        await self._server.serve(sockets=[listener])

    async def drain(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without it every answer waits for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(2048)
    listener.setblocking(False)
    return listener
