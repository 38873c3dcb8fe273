"""Calls between services, against servers that answer oddly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.http.internal import InternalClient, ServiceAway
from jobyard_common.http.pool import Broken, Pool

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok"


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            head += await reader.readexactly(int(line[15:]))
    return head


def play(serve: Serve, story: Callable[[Pool, list[int]], Awaitable[None]], *, connections: int = 4) -> None:
    async def run() -> None:
        opened = [0]

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            opened[0] += 1
            try:
                await serve(reader, writer, opened[0])
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], connections=connections)
        try:
            await story(pool, opened)
        finally:
            pool.close()
            server.close()

    asyncio.run(run())


async def always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
    while True:
        await request_of(reader)
        writer.write(OK)


async def get(pool: Pool, **more: Any) -> bytes:
    return (await pool.request("GET", "/x", {}, None, timeout_s=more.get("timeout_s", 5))).body


def test_a_connection_is_used_again() -> None:
    async def story(pool: Pool, opened: list[int]) -> None:
        for _ in range(20):
            reply = await pool.request("GET", "/x?a=1", {"A": "b"}, None, timeout_s=5)
            assert reply == (200, [(b"content-length", b"2"), (b"x-a", b"b")], b"ok")
        assert opened == [1]

    play(always, story)


def test_no_more_connections_than_allowed() -> None:
    async def story(pool: Pool, opened: list[int]) -> None:
        assert set(await asyncio.gather(*(get(pool) for _ in range(50)))) == {b"ok"}
        assert opened[0] <= 3

    play(always, story, connections=3)


def test_a_get_survives_a_server_that_closes_idle_connections() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await request_of(reader)
        writer.write(OK)

    async def story(pool: Pool, opened: list[int]) -> None:
        for _ in range(5):
            assert await get(pool) == b"ok"
        assert opened == [5]

    play(once, story)


def test_a_post_is_not_sent_twice() -> None:
    seen: list[bytes] = []

    async def reads_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        seen.append(await request_of(reader))

    async def story(pool: Pool, opened: list[int]) -> None:
        with pytest.raises(Broken):
            await pool.request("POST", "/x", {"Content-Type": "application/json"}, b"{}", timeout_s=5)
        assert len(seen) == 1 and seen[0].endswith(b"Content-Length: 2\r\n\r\n{}")

    play(reads_and_closes, story)


def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request_of(reader)
        if number == 1:
            await asyncio.sleep(0.3)
            writer.write(OK.replace(b"ok", b"no"))
            await request_of(reader)
        writer.write(OK)

    async def story(pool: Pool, opened: list[int]) -> None:
        with pytest.raises(TimeoutError):
            await get(pool, timeout_s=0.1)
        assert await get(pool) == b"ok"
        assert opened == [2]

    play(slow, story)


@pytest.mark.parametrize("answer", [b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b""])
def test_a_broken_answer_is_an_error(answer: bytes) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await request_of(reader)
        writer.write(answer)

    async def story(pool: Pool, opened: list[int]) -> None:
        with pytest.raises(OSError):
            await get(pool)

    play(broken, story)


def test_chunks_are_put_together() -> None:
    async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        writer.write(b"2\r\nde\r\n0\r\n\r\n")
        await request_of(reader)

    async def story(pool: Pool, opened: list[int]) -> None:
        assert await get(pool) == b"abcde"

    play(chunked, story)


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/a b", {}), ("/a\r\nX: y", {}), ("/a", {"A": "b\r\nC: d"}), ("/a", {"A": "b\nC: d"}), ("/a", {"A\r\n": "b"})],
)
def test_nothing_can_be_put_between_the_lines(target: str, headers: dict[str, str]) -> None:
    async def story(pool: Pool, opened: list[int]) -> None:
        with pytest.raises(ValueError):
            await pool.request("GET", target, headers, None, timeout_s=1)
        assert opened == [0]

    play(always, story)


def test_a_server_that_is_not_there_is_a_service_away() -> None:
    async def story() -> None:
        client = InternalClient("http://127.0.0.1:1", "t")
        with pytest.raises(ServiceAway):
            await client.request("GET", "/x", tenant="t", actor=Actor(ActorKind.KEY, "k"), params={"a": "ä b"})
        await client.close()

    asyncio.run(story())
