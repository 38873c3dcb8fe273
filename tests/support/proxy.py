"""A TCP proxy that can be made to misbehave, between one service and one server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
CHUNK = 64 * 1024


class Mode(StrEnum):
    """What the wire does."""

    PASS = "pass"
    RESET = "reset"
    """Every connection is reset, also those that come."""
    BLACK_HOLE = "black_hole"
    """Connections stay open and are accepted, nothing passes."""
    DELAY = "delay"
    """Every piece is late."""
    HALF_OPEN = "half_open"
    """The server has gone, the client is not told."""
    ONE_WAY = "one_way"
    """Requests arrive, answers do not."""


class Proxy:
    """Listens on a port of its own; `rewrite` changes whole frames of Kafka's answers."""

    def __init__(self, dial: Dial, *, delay_s: float = 0.3) -> None:
        self._dial = dial
        self.rewrite: Callable[[bytes], bytes] | None = None
        self._delay_s = delay_s
        self._mode = Mode.PASS
        self._changed = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()
        self._servers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.set(Mode.RESET)
        await asyncio.sleep(0)

    def set(self, mode: Mode) -> None:
        """From now on; what was held back by the mode before goes its way, except that a half-open side is reset."""
        before, self._mode = self._mode, mode
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if mode is Mode.RESET or before is Mode.HALF_OPEN:
            for writer in [*self._clients, *self._servers]:
                _reset(writer)
        if mode is Mode.HALF_OPEN:
            for writer in self._servers:
                _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._known(self._clients, writer):
            if self._mode is Mode.RESET:
                return
            await self._until_passing()
            try:
                server_reader, server_writer = await asyncio.wait_for(self._dial(), 5)
            except (OSError, TimeoutError):
                return
            with self._known(self._servers, server_writer):
                await self._join(reader, writer, server_reader, server_writer)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        pumps = {
            asyncio.create_task(self._pump(reader, server_writer, down=False)),
            asyncio.create_task(self._pump(server_reader, writer, down=True)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self._mode is Mode.HALF_OPEN:
                await self._changed.wait()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while piece := await self._read(reader, down=down):
                if self._mode is Mode.DELAY:
                    await asyncio.sleep(self._delay_s)
                await self._until_passing(down=down)
                writer.write(piece)
                await writer.drain()

    async def _read(self, reader: asyncio.StreamReader, *, down: bool) -> bytes:
        if self.rewrite is None or not down:
            return await reader.read(CHUNK)
        size = await reader.readexactly(4)
        return size + self.rewrite(await reader.readexactly(struct.unpack(">i", size)[0]))

    async def _until_passing(self, *, down: bool = False) -> None:
        while self._mode in (Mode.BLACK_HOLE, Mode.HALF_OPEN) or (down and self._mode is Mode.ONE_WAY):
            await self._changed.wait()

    @contextlib.contextmanager
    def _known(self, among: set[asyncio.StreamWriter], writer: asyncio.StreamWriter) -> Iterator[None]:
        among.add(writer)
        try:
            yield
        finally:
            among.discard(writer)
            if self._mode is Mode.RESET:
                _reset(writer)
            writer.close()


def to_unix(path: str) -> Dial:
    return lambda: asyncio.open_unix_connection(path)


def to_tcp(host: str, port: int) -> Dial:
    return lambda: asyncio.open_connection(host, port)


def to_any(addresses: Callable[[], list[int]]) -> Dial:
    """The first of these local ports that answers, beginning with another one each time: a load balancer."""
    turn = 0

    async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        nonlocal turn
        ports = addresses()
        turn += 1
        for place in range(len(ports)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", ports[(turn + place) % len(ports)])
        raise OSError("nobody answers")

    return dial


def kafka_rewrite(real: int, proxy: Proxy) -> Callable[[bytes], bytes]:
    """The broker names its own port in its answers; clients shall come back through the proxy instead."""
    told = b"127.0.0.1" + struct.pack(">i", real)

    def rewrite(frame: bytes) -> bytes:
        if told not in frame:
            return frame
        return frame.replace(told, b"127.0.0.1" + struct.pack(">i", proxy.port))

    return rewrite


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST where the socket can, else an end without goodbye."""
    found = writer.get_extra_info("socket")
    if found is not None and found.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
