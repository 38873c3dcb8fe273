"""http.fetch against a server of our own on the loopback, honest and hostile."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import ToolError
from jobyard.author.errors import CANCEL
from jobyard.author.testing import Trial
from jobyard_executor.tools.http import call
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


def test_a_body_becomes_a_file(tmp_path: Path) -> None:
    content = b"hello " * 100_000
    answer = saying(body(content, head="Content-Type: text/plain\r\nX-Two: a\r\nX-Two: b\r\n"))
    value, trial, server = fetched(answer, tmp_path, path="/a?b=c", headers={"X-Mine": "yes"}, save_as="page.txt")
    assert (value["status"], value["size"], value["file"]) == (200, 600_000, "page.txt")
    assert value["sha256"] == hashlib.sha256(content).hexdigest()
    assert (value["content_type"], value["headers"]["x-two"], value["redirects"]) == ("text/plain", "a, b", [])
    assert trial.outputs == {"page.txt": content}
    assert trial.backend.steps[-1] == (600_000, 600_000, "bytes")
    assert server.heads[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"host: {HOST}:{server.port}\r\n" in server.heads[0].lower()
    assert "x-mine: yes" in server.heads[0].lower() and "accept-encoding: identity" in server.heads[0].lower()


def test_head_and_post(tmp_path: Path) -> None:
    value, trial, server = fetched(saying(body(b"")), tmp_path, method="HEAD")
    assert (value["size"], value["file"], trial.outputs) == (0, None, {})
    assert server.heads[0].startswith("HEAD / ")

    async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(body(request.partition(b"\r\n\r\n")[2]))
        await writer.drain()

    value, trial, _ = fetched(echo, tmp_path, method="POST", body="grüß")
    assert trial.outputs["body"] == "grüß".encode()


def test_what_is_packed_stays_packed(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    value, trial, _ = fetched(saying(body(bomb, head="Content-Encoding: gzip\r\n")), tmp_path, max_bytes=100_000)
    assert trial.outputs["body"] == bomb
    assert value["headers"]["content-encoding"] == "gzip"


def test_any_status_is_an_answer_unless_success_is_expected(tmp_path: Path) -> None:
    missing = saying(body(b"gone", status="404 Not Found"))
    assert fetched(missing, tmp_path)[0]["status"] == 404
    for status, retryable in (("404 Not Found", False), ("503 Busy", True), ("429 Slow Down", True)):
        error = refused(saying(body(b"", status=status)), tmp_path, expect="success")
        assert (error.code, error.retryable) == ("status_unexpected", retryable)


def test_a_redirect_is_followed_and_secrets_stay_home(tmp_path: Path) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"POST /start"):
            writer.write(body(b"", status="302 Found", head="Location: /end\r\n"))
        else:
            writer.write(body(b"there"))
        await writer.drain()

    secret = {"Authorization": "Bearer x"}
    value, _, server = fetched(answer, tmp_path, path="/start", method="POST", body="x", headers=secret)
    assert value["url"].endswith("/end") and len(value["redirects"]) == 1
    assert server.heads[1].startswith("GET /end ")
    assert "authorization" in server.heads[1].lower(), "same origin"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "http://user:pw@service.test:{port}/",
        "gopher://service.test/",
        "http://service.test:22/",
        "http://[broken/",
    ],
)
def test_a_redirect_to_a_neighbour_is_refused(location: str, tmp_path: Path) -> None:
    heads = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(request)
        port = request.decode().lower().partition(f"{HOST}:")[2].partition("\r")[0]
        target = location.format(port=port)
        writer.write(body(b"", status="302 Found", head=f"Location: {target}\r\n"))
        await writer.drain()

    async def lookup(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"] if host in (HOST, "localhost") else [host]

    async def scenario() -> None:
        async with serving(answer) as server:
            params = Params(url=f"http://{HOST}:{server.port}/", timeout_s=5)
            settings = HttpSettings(allow=f"{HOST}:{server.port}", ports=f"80,443,{server.port}")
            await fetch_with(Trial(fetch, folder=tmp_path).ctx, params, settings=settings, lookup=lookup)

    with pytest.raises(ToolError) as caught:
        asyncio.run(scenario())
    assert caught.value.code in ("address_refused", "url_refused")
    assert (len(heads), caught.value.retryable) == (1, False)


def test_secrets_do_not_follow_to_another_host(tmp_path: Path) -> None:
    async def scenario() -> Server:
        async with serving(saying(body(b"there"))) as other:
            moved = saying(body(b"", status="307 Moved", head=f"Location: http://other.test:{other.port}/\r\n"))
            async with serving(moved) as first:
                settings = HttpSettings(allow="service.test,other.test")
                headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Kept": "yes"}
                params = Params(url=f"http://{HOST}:{first.port}/", headers=headers)
                await fetch_with(Trial(fetch, folder=tmp_path).ctx, params, settings=settings, lookup=loopback)
            return other

    head = asyncio.run(scenario()).heads[0].lower()
    assert "x-kept: yes" in head and "authorization" not in head and "cookie" not in head


def test_a_ring_of_redirects_ends(tmp_path: Path) -> None:
    ring = saying(body(b"", status="301 Moved", head="Location: /\r\n"))
    assert refused(ring, tmp_path, max_redirects=3).code == "too_many_redirects"


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


async def silent(request: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


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


def test_nobody_listens(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(saying(b"")) as server:
            port = server.port
        params = Params(url=f"http://{HOST}:{port}/")
        settings = HttpSettings(allow=HOST)
        await fetch_with(Trial(fetch, folder=tmp_path).ctx, params, settings=settings, lookup=loopback)

    with pytest.raises(ToolError) as caught:
        asyncio.run(scenario())
    assert (caught.value.code, caught.value.retryable) == ("upstream_unavailable", True)


def test_the_second_address_is_tried(tmp_path: Path) -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.99", "127.0.0.1"]

    async def scenario() -> dict[str, Any]:
        async with serving(saying(body(b"ok"))) as server:
            params = Params(url=f"http://{HOST}:{server.port}/")
            settings = HttpSettings(allow=HOST)
            return await fetch_with(Trial(fetch, folder=tmp_path).ctx, params, settings=settings, lookup=lookup)

    assert asyncio.run(scenario())["size"] == 2


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


def test_a_cancel_ends_the_call_at_once(tmp_path: Path) -> None:
    async def scenario() -> float:
        async with serving(silent) as server:
            trial = Trial(fetch, folder=tmp_path)
            params = Params(url=f"http://{HOST}:{server.port}/")
            task = asyncio.ensure_future(
                fetch_with(trial.ctx, params, settings=HttpSettings(allow=HOST), lookup=loopback)
            )
            await server.called.wait()
            trial.backend.stop = CANCEL
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - began

    assert asyncio.run(scenario()) < 1
