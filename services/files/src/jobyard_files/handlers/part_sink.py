"""Bytes of one request on their way to a part: gathered to blocks, written and hashed in a thread, synced on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from jobyard_files.outbound.disk import Part

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK_BYTES = 1024 * 1024


class PartSink:
    """One block is written while the next is gathered, so memory stays at two blocks whatever the client sends.

    `position` counts the bytes taken, `durable` those that a crash cannot take back.
    """

    def __init__(self, part: Part, *, start: int, digests: Sequence[_Hash], threads: Executor) -> None:
        self._part = part
        self._digests = digests
        self._threads = threads
        self._gathered = bytearray()
        self._written = start
        self._writing: asyncio.Future[None] | None = None
        self.durable = start

    @property
    def position(self) -> int:
        return self._written + len(self._gathered)

    async def put(self, piece: bytes) -> None:
        self._gathered += piece
        if len(self._gathered) >= BLOCK_BYTES:
            await self._push()

    async def sync(self) -> int:
        """Make everything taken so far durable; returns the position reached."""
        await self._push()
        await self.settle()
        reached = self._written
        if reached != self.durable:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._part.sync)
            self.durable = reached
        return reached

    async def settle(self) -> None:
        """Wait for the write in flight: a part must not be closed or cut under it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await asyncio.shield(writing)

    async def _push(self) -> None:
        await self.settle()
        if not self._gathered:
            return
        block, self._gathered = self._gathered, bytearray()
        position, self._written = self._written, self._written + len(block)
        self._writing = asyncio.get_running_loop().run_in_executor(self._threads, self._store, block, position)

    def _store(self, block: bytearray, position: int) -> None:
        self._part.write(block, position)
        for digest in self._digests:
            digest.update(block)
