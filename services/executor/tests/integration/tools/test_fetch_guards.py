"""http.fetch against hostile servers, forbidden headers, wrong certificates and proxies."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from jobyard.author import ToolError
from jobyard.author.testing import Trial
from jobyard_executor.tools.http import call
from jobyard_executor.tools.http.fetch import Params, fetch, fetch_with
from jobyard_executor.tools.http.settings import HttpSettings

from .servers import PEM, Answer, body, fetched, loopback, refused, saying, serving, silent


async def endless(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        await writer.drain()


async def drop_by_drop(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_head(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Filler: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (endless, "too_large", False),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), "too_large", False),
        (drop_by_drop, "upstream_timeout", True),
        (silent, "upstream_timeout", True),
        (endless_head, "upstream_unavailable", True),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), "upstream_unavailable", True),
        (
            saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            "upstream_unavailable",
            True,
        ),
        (saying(b"no HTTP at all\r\n\r\n"), "upstream_unavailable", True),
        (saying(b""), "upstream_unavailable", True),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "upstream_unavailable", True),
        (saying(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 100), "upstream_unavailable", True),
    ],
    ids=("endless", "huge", "drops", "silent", "head", "short", "two lengths", "no http", "nothing", "chunk", "tls"),
)
def test_hostile_servers(answer: Answer, code: str, retryable: bool, tmp_path: Path) -> None:
    began = time.monotonic()
    error = refused(answer, tmp_path, max_bytes=1_000_000, timeout_s=0.5)
    assert (error.code, error.retryable) == (code, retryable)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"}, {"Proxy-Authorization": "x"}],
)
def test_headers_that_are_ours(headers: dict[str, str], tmp_path: Path) -> None:
    assert refused(saying(body(b"")), tmp_path, headers=headers).code == "header_refused"


@pytest.mark.parametrize("headers", [{"A": "b\r\nC: d"}, {"A b": "c"}, {"": "x"}, {"A": "ü"}, {"A": "\x00"}])
def test_headers_that_are_none(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="headers"):
        Params(url="http://example.org/", headers=headers)


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


def test_the_certificate_is_checked_for_the_name_though_a_number_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "trust", lambda: ssl.create_default_context(cafile=str(PEM)))
    assert fetched(saying(body(b"safe")), tmp_path, tls=_server_context())[0]["size"] == 4

    async def other_name() -> None:
        async with serving(saying(body(b"safe")), tls=_server_context()) as server:
            params = Params(url=f"https://other.test:{server.port}/", timeout_s=5)
            settings = HttpSettings(allow="other.test")
            await fetch_with(Trial(fetch, folder=tmp_path).ctx, params, settings=settings, lookup=loopback)

    with pytest.raises(ToolError) as caught:
        asyncio.run(other_name())
    assert (caught.value.code, caught.value.retryable) == ("tls", False)


def test_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        fetched(saying(body(b"")), tmp_path, tls=_server_context())
    assert caught.value.code == "tls"


def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetched(saying(body(b"direct")), tmp_path)[0]["size"] == 6


def test_the_tool_itself_refuses_the_loopback(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="may not be called"):
        Trial(fetch, {"url": "http://127.0.0.1/"}, folder=tmp_path).run()
