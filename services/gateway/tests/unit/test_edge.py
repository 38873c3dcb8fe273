"""The edge of HTTP: bodies are counted while they stream, and headers of one hop stay on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest
from jobyard_common.http.problems import Problem
from jobyard_gateway.inbound.http.bodies import Gone, TooLarge, read_body, require_json
from jobyard_gateway.inbound.http.files import HOP_BY_HOP, answered, forwarded

Message = MutableMapping[str, Any]


class Client:
    """Sends a body in parts and counts how many were taken."""

    def __init__(self, parts: list[Message]) -> None:
        self._parts = parts
        self.taken = 0

    async def receive(self) -> Message:
        self.taken += 1
        return self._parts[min(self.taken - 1, len(self._parts) - 1)]


def read(receive: Callable[[], Awaitable[Message]], *, limit: int, length: bytes | None = None) -> bytes:
    headers = [(b"content-length", length)] if length is not None else []
    return asyncio.run(read_body({"headers": headers}, receive, limit=limit))


def part(size: int, *, more: bool) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_an_endless_body_is_refused_as_soon_as_it_is_too_large() -> None:
    client = Client([part(100, more=True)])
    with pytest.raises(TooLarge) as refusal:
        read(client.receive, limit=1000)
    assert client.taken == 11
    assert refusal.value.headers["Connection"] == "close"


@pytest.mark.parametrize("length", [b"1001", b"9" * 40])
def test_a_declared_length_is_refused_before_a_byte_is_read(length: bytes) -> None:
    client = Client([part(1, more=False)])
    with pytest.raises(TooLarge):
        read(client.receive, limit=1000, length=length)
    assert client.taken == 0


def test_a_body_up_to_the_limit_is_read_whole() -> None:
    assert read(Client([part(400, more=True), part(600, more=False)]).receive, limit=1000) == b"x" * 1000


def test_a_client_that_hangs_up_gets_nothing() -> None:
    with pytest.raises(Gone):
        read(Client([part(1, more=True), {"type": "http.disconnect"}]).receive, limit=1000)


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        (b"", b""),
        (b"text/plain", b""),
        (b"application/x-www-form-urlencoded", b""),
        (b"application/jsonx", b""),
        (b"application/json; charset=utf-16", b""),
        (b"application/json", b"gzip"),
    ],
)
def test_other_media_types_are_refused(kind: bytes, encoding: bytes) -> None:
    with pytest.raises(Problem) as refusal:
        require_json(kind, encoding)
    assert refusal.value.code == "unsupported_media_type"


@pytest.mark.parametrize("kind", [b"application/json", b'Application/JSON; charset="UTF-8"', b"application/json;v=1"])
def test_json_in_utf_8_passes(kind: bytes) -> None:
    require_json(kind, b"")


def test_only_end_to_end_headers_go_on() -> None:
    raw = [(name.encode(), b"1") for name in HOP_BY_HOP if name != "connection"]
    raw += [(b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"authorization", b"Bearer jy_x")]
    raw += [(b"x-jobyard-tenant", b"other"), (b"X-Jobyard-Actor", b"key:other"), (b"cookie", b"a=b"), (b"host", b"h")]
    raw += [(b"tus-resumable", b"1.0.0"), (b"upload-offset", b"0"), (b"range", b"bytes=0-"), (b"content-length", b"5")]
    names = [name for name, _ in forwarded(raw)]
    assert names == [b"tus-resumable", b"upload-offset", b"range", b"content-length", b"accept-encoding"]


def test_only_end_to_end_headers_come_back() -> None:
    headers = httpx.Headers(
        [
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Location", "http://x/v1/files/file_1"),
            ("Upload-Offset", "7"),
            ("X-Request-Id", "theirs"),
            ("Content-Range", "bytes 0-1/2"),
        ]
    )
    assert [name for name, _ in answered(headers)] == [b"location", b"upload-offset", b"content-range"]
