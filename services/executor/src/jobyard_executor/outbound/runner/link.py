"""One worker's socket on the loop of the control process: frames in, batched frames out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.worker.messages import FrameError, FrameReader, Message, encode_frame

log = get_logger(__name__)


class Link(asyncio.Protocol):
    """What is posted in one turn of the loop leaves in one write."""

    def __init__(self, *, on_messages: Callable[[list[Message]], None], on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._transport: asyncio.WriteTransport | None = None
        self._outbox: list[Message] = []
        self._lost = False

    async def open(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=sock)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except FrameError as error:
            log.error("worker.frame_invalid", error=str(error))
            self.close()
            return
        if messages:
            self._on_messages(messages)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        if not self._lost:
            self._lost = True
            self._on_lost()

    def post(self, message: Message) -> None:
        if not self._outbox:
            self._loop.call_soon(self._send)
        self._outbox.append(message)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        if self._transport is None or not self._outbox:
            return
        messages, self._outbox = self._outbox, []
        self._transport.write(encode_frame(messages))
