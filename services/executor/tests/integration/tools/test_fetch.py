"""http.fetch against honest servers: bodies, redirects, addresses, a cancel."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import ToolError
from jobyard.author.errors import CANCEL
from jobyard.author.testing import Trial
from jobyard_executor.tools.http.fetch import Params, fetch, fetch_with
from jobyard_executor.tools.http.settings import HttpSettings

from .servers import HOST, Server, body, fetched, loopback, refused, saying, serving, silent


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
    for text, after_s in (("120", 120.0), ("0", 0.0), ("Wed, 21 Oct 2099 07:28:00 GMT", None), ("-5", None)):
        busy = saying(body(b"", status="503 Busy", head=f"Retry-After: {text}\r\n"))
        assert getattr(refused(busy, tmp_path, expect="success"), "after_s", None) == after_s


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
