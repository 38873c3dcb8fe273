"""An HTTP server of our own on the loopback, and http.fetch called against it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import ToolError
from jobyard.author.testing import Trial
from jobyard_executor.tools.http.fetch import Params, fetch, fetch_with
from jobyard_executor.tools.http.settings import HttpSettings

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


HOST = "service.test"


PEM = Path(__file__).parent / "data" / "service.test.pem"


class Server:
    """Gives each request's head to `answer`, and keeps all heads."""

    def __init__(self, answer: Answer) -> None:
        self.heads: list[str] = []
        self.called = asyncio.Event()
        self.port = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            self.called.set()
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            await self._answer(head + await reader.readexactly(length), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def saying(*parts: bytes) -> Answer:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()

    return answer


def body(content: bytes, *, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{head}\r\n".encode() + content


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def fetched(
    answer: Answer, folder: Path, *, path: str = "/", tls: ssl.SSLContext | None = None, **parameters: Any
) -> tuple[dict[str, Any], Trial, Server]:
    """The value of a fetch from a server that is allowed by name."""

    async def scenario() -> tuple[dict[str, Any], Trial, Server]:
        async with serving(answer, tls=tls) as server:
            trial = Trial(fetch, folder=folder)
            settings = HttpSettings(allow=f"{HOST}:{server.port}")
            url = f"{'https' if tls else 'http'}://{HOST}:{server.port}{path}"
            params = Params.model_validate({"url": url, "timeout_s": 5, **parameters})
            return await fetch_with(trial.ctx, params, settings=settings, lookup=loopback), trial, server

    return asyncio.run(scenario())


def refused(answer: Answer, folder: Path, **parameters: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        fetched(answer, folder, **parameters)
    return caught.value


async def silent(request: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)
