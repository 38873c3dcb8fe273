"""The guard in front of the HTTP parser, attacked over raw sockets."""

from __future__ import annotations

import asyncio

import pytest
from jobyard_common.http import server as guarded
from jobyard_common.http.server import HttpServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def exchange(*parts: bytes, pause_s: float = 0.0, wait_s: float = 5.0) -> bytes:
    """Send the parts with pauses; returns all that came back until the server closed or `wait_s` passed."""

    async def main() -> bytes:
        server = HttpServer(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])]), host="127.0.0.1", port=0)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        got = b""
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            async with asyncio.timeout(wait_s):
                while chunk := await reader.read(65536):
                    got += chunk
        except (TimeoutError, ConnectionError):
            got += b"<open>" if not reader.at_eof() else b""
        finally:
            writer.close()
            await server.drain()
            await server.stop()
        return got

    return asyncio.run(main())


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


def test_an_ordinary_request_is_answered() -> None:
    assert exchange(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc").endswith(
        b"\r\n\r\n3"
    )


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"a" * 65536 + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
        HEAD + b"".join(b"X%d: 1\r\n" % n for n in range(150)) + b"\r\n",
        HEAD + b"X: " + b"a" * 1_000_000,
    ],
)
def test_a_head_beyond_the_limits_is_refused(head: bytes) -> None:
    assert exchange(head).startswith(b"HTTP/1.1 400")


def test_a_head_that_never_ends_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(guarded, "HEAD_DEADLINE_S", 0.3)
    assert exchange(HEAD) == b""


def test_a_body_that_stands_still_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(guarded, "BODY_IDLE_S", 0.3)
    assert exchange(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc") == b""


def test_a_slow_body_that_moves_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(guarded, "BODY_IDLE_S", 0.4)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    assert exchange(head, b"a", b"b", b"c", b"d", b"e", pause_s=0.15).endswith(b"\r\n\r\n5")
