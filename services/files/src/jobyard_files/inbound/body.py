"""The body of an ASGI request as a `Body`."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive

from jobyard_files.handlers.body import Ending


class RequestBody:
    """Reads piece by piece; memory holds one piece, the server's flow control the rest."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._cut: Ending | None = None
        self._ended: Ending | None = None
        self._waiting: asyncio.Timeout | None = None

    async def read(self, *, wait_s: float) -> bytes | Ending | None:
        ending = self._ended or self._cut
        if ending is not None:
            return ending
        try:
            async with asyncio.timeout(wait_s) as self._waiting:
                message = await self._receive()
        except TimeoutError:
            return self._cut
        finally:
            self._waiting = None
        if message["type"] == "http.disconnect":
            self._ended = Ending.CLIENT_GONE
            return self._ended
        piece: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            self._ended = Ending.WHOLE
        return piece if piece or self._ended is None else self._ended

    def cut(self, why: Ending) -> None:
        self._cut = why
        if self._waiting is not None:
            # A wait that is already being ended needs no second push.
            with contextlib.suppress(RuntimeError):
                self._waiting.reschedule(asyncio.get_running_loop().time())
