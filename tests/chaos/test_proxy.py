"""The wire misbehaves exactly as it is told; otherwise a run without breaches would mean little."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Mode, Proxy, kafka_rewrite, to_tcp

SILENCE_S = 0.15


@contextlib.asynccontextmanager
async def wire() -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """A proxy before a server that echoes and remembers what arrived."""
    arrived: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(100):
                arrived.append(piece)
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(to_tcp("127.0.0.1", server.sockets[0].getsockname()[1]), delay_s=0.01)
    await proxy.start()
    try:
        yield proxy, arrived
    finally:
        await proxy.stop()
        server.close()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", [Mode.BLACK_HOLE, Mode.ONE_WAY])
def test_what_is_held_back_goes_its_way_afterwards(mode: Mode) -> None:
    async def story() -> None:
        async with wire() as (proxy, arrived):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            proxy.set(mode)
            writer.write(b"two")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(1), SILENCE_S)
            assert (arrived[1:] == [b"two"]) is (mode is Mode.ONE_WAY)
            proxy.set(Mode.PASS)
            assert await reader.readexactly(3) == b"two"
            writer.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_reset_ends_old_connections_and_new_ones() -> None:
    async def story() -> None:
        async with wire() as (proxy, _):
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                proxy.set(Mode.RESET)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read(1) == b""
                writer.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_half_open_connection_is_silent_until_the_end_is_told() -> None:
    async def story() -> None:
        async with wire() as (proxy, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            proxy.set(Mode.HALF_OPEN)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), SILENCE_S)
            proxy.set(Mode.PASS)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read(1) == b""
            writer.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_the_broker_is_found_through_the_proxy_only() -> None:
    proxy = Proxy(to_tcp("127.0.0.1", 9092))
    proxy.port = 4660
    rewrite = kafka_rewrite(9092, proxy)
    assert rewrite(b"..127.0.0.1\x00\x00\x23\x84..") == b"..127.0.0.1\x00\x00\x12\x34.."
    assert rewrite(b"..127.0.0.1\x00\x00\x23\x85..") == b"..127.0.0.1\x00\x00\x23\x85.."
