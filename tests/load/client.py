"""A client that costs little: raw HTTP/1.1 over one connection, so that the measurement is not of the client."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from typing import Any


class Connection:
    """One keep-alive connection to the gateway; one request at a time."""

    def __init__(self, base_url: str, api_key: str) -> None:
        parts = urllib.parse.urlsplit(base_url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._fixed = f"Host: {parts.netloc}\r\nAuthorization: Bearer {api_key}\r\n".encode()

    async def __aenter__(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def call(self, method: str, path: str, body: bytes = b"", *, headers: bytes = b"") -> tuple[int, bytes]:
        """Returns the status and the body."""
        head = f"{method} {path} HTTP/1.1\r\n".encode() + self._fixed + headers
        if body:
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        self._writer.write(head + b"\r\n" + body)
        raw = await self._reader.readuntil(b"\r\n\r\n")
        status = int(raw[9:12])
        lowered = raw.lower()
        at = lowered.find(b"content-length:")
        if at < 0:
            raise ValueError(f"{method} {path}: an answer without a length")
        length = int(raw[at + 15 : raw.index(b"\r\n", at)])
        return status, await self._reader.readexactly(length)

    async def get(self, path: str) -> Any:
        status, body = await self.call("GET", path)
        if status != 200:
            raise ValueError(f"GET {path}: {status} {body[:200]!r}")
        return json.loads(body)

    async def submit(self, body: bytes) -> dict[str, Any]:
        status, answer = await self.call("POST", "/v1/jobs", body)
        if status != 202:
            raise ValueError(f"POST /v1/jobs: {status} {answer[:200]!r}")
        return dict(json.loads(answer))


async def spread(
    open_connection: Callable[[], Connection],
    count: int,
    work: Iterable[bytes],
    do: Callable[[Connection, bytes], Awaitable[None]],
) -> None:
    """Do each piece of `work` on one of `count` connections."""
    pieces = iter(work)

    async def one() -> None:
        async with open_connection() as connection:
            for piece in pieces:
                await do(connection, piece)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
