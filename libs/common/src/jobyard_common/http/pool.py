"""A small HTTP/1.1 client for calls between our services: kept-alive connections, whole bodies, one deadline a call.

httpx spends most of a millisecond of CPU on such a call, which is most of what a read of a job costs; the same call
takes a tenth of that here. It speaks plain HTTP with Content-Length or chunks, follows nothing and decodes nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import httptools

CONNECT_S = 2.0
IDLE_S = 60.0


class Reply(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Broken(OSError):
    """The connection ended in the middle of an exchange; `unused` tells that no byte of an answer had come."""

    def __init__(self, text: str, *, unused: bool) -> None:
        super().__init__(text)
        self.unused = unused


class _Connection(asyncio.Protocol):
    """One exchange at a time."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._parser: Any = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._began = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, data: bytes, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Reply]:
        if self._transport is None or self._transport.is_closing():
            raise Broken("the connection was closed", unused=True)
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._parts, self._began = [], [], False
        self._answer = loop.create_future()
        self._transport.write(data)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()
            return
        self._began = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Broken(f"no HTTP: {error}", unused=False))
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        answer, self._answer = self._answer, None
        if not self._parser.should_keep_alive():
            self.close()
        if answer is not None and not answer.done():
            answer.set_result(Reply(self._parser.get_status_code(), self._headers, b"".join(self._parts)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(Broken(str(exc or "the connection was closed"), unused=not self._began))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


class Pool:
    """Connections to one server, at most `connections` at a time."""

    def __init__(self, host: str, port: int, *, connections: int) -> None:
        self._host = host
        self._port = port
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._free = asyncio.Semaphore(connections)
        self._idle: deque[_Connection] = deque()

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, *, timeout_s: float
    ) -> Reply:
        """One exchange. A GET on a connection that its server had just closed is asked again on a new one.

        Raises:
            OSError, TimeoutError: there was no whole answer.
            ValueError: the target or a header can't be written on a line.
        """
        data = _head(method, target, self._authority, headers.items(), body)
        async with asyncio.timeout(timeout_s), self._free:
            loop = asyncio.get_running_loop()
            while True:
                connection = self._kept(loop)
                fresh = connection is None
                if connection is None:
                    connection = await self._connect(loop)
                try:
                    answer = await connection.ask(data, loop)
                except Broken as error:
                    if fresh or not error.unused or method != "GET":
                        raise
                    continue
                except BaseException:
                    # Given up in the middle: what would come now belongs to nobody.
                    connection.close()
                    raise
                if connection.usable:
                    connection.idle_since = loop.time()
                    self._idle.append(connection)
                return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _kept(self, loop: asyncio.AbstractEventLoop) -> _Connection | None:
        """The connection that was used last; the others may grow old and are closed."""
        oldest = loop.time() - IDLE_S
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        async with asyncio.timeout(CONNECT_S):
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


def _head(method: str, target: str, authority: str, headers: Iterable[tuple[str, str]], body: bytes | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body or b'')}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or lines[0].count(" ") != 2:
        raise ValueError("a line break or a space where none may be")
    return text.encode("latin-1") + b"\r\n\r\n" + (body or b"")
