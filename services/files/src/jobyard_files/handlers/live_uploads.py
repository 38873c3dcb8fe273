"""The writers of this process: one a file, the newest wins, and all end when the service drains.

A client whose connection hung asks again on a new one, and must not wait for the old one's timeout: the newcomer cuts
the old body, waits until its bytes are flushed and recorded, and goes on from there. Writers of other processes are
kept out by the lock on the part and by the writer epoch in the row.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.handlers.body import Body, Ending

if TYPE_CHECKING:
    from hashlib import _Hash

REMEMBERED = 1024


@dataclass(eq=False)
class _Writer:
    body: Body
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _HashSoFar:
    epoch: int
    received: int
    digest: _Hash


class LiveUploads:
    """`takeover_s` bounds the wait for a writer that is being displaced, in seconds."""

    def __init__(self, *, takeover_s: float = 5.0) -> None:
        self._takeover_s = takeover_s
        self._writers: dict[str, _Writer] = {}
        self._hashes: OrderedDict[str, _HashSoFar] = OrderedDict()
        self._draining = False

    @contextlib.asynccontextmanager
    async def claim(self, file_id: str, body: Body) -> AsyncIterator[None]:
        """Be the only writer of this file in this process.

        Raises:
            Refused: the service drains, or the writer before did not end in time.
        """
        if self._draining:
            raise going_down()
        if not await self.settle(file_id):
            raise Refused(Refusal.LOCKED, "Another request is still writing this upload.", headers={"Retry-After": "1"})
        writer = self._writers[file_id] = _Writer(body)
        try:
            yield
        finally:
            writer.done.set()
            if self._writers.get(file_id) is writer:
                del self._writers[file_id]

    async def settle(self, file_id: str) -> bool:
        """End a running writer and wait until its bytes are recorded; False if it takes too long."""
        deadline = asyncio.get_running_loop().time() + self._takeover_s
        while (writer := self._writers.get(file_id)) is not None:
            writer.body.cut(Ending.TAKEN_OVER)
            try:
                async with asyncio.timeout_at(deadline):
                    await writer.done.wait()
            except TimeoutError:
                return False
        return True

    async def drain(self) -> None:
        """End all writers; their bytes are kept and their clients told to come again."""
        self._draining = True
        writers = list(self._writers.values())
        for writer in writers:
            writer.body.cut(Ending.DRAINING)
        for writer in writers:
            await writer.done.wait()

    def remember(self, file_id: str, digest: _Hash, *, epoch: int, received: int) -> None:
        """Keep the hash of what was written so far, for the next request of the same upload."""
        self._hashes[file_id] = _HashSoFar(epoch, received, digest)
        self._hashes.move_to_end(file_id)
        if len(self._hashes) > REMEMBERED:
            self._hashes.popitem(last=False)

    def carry(self, file_id: str, *, epoch: int) -> None:
        """A writer that wrote nothing has passed: what is remembered stays good for the next."""
        kept = self._hashes.get(file_id)
        if kept is not None and kept.epoch == epoch - 1:
            self._hashes[file_id] = replace(kept, epoch=epoch)

    def recall(self, file_id: str, *, epoch: int, received: int) -> _Hash | None:
        """The hash of the first `received` bytes, if this process wrote all of them; None means read them again.

        `epoch` is the new writer's: any writer in between, here or elsewhere, makes what we remember worthless.
        """
        if received == 0:
            self._hashes.pop(file_id, None)
            return hashlib.sha256()
        kept = self._hashes.pop(file_id, None)
        if kept is None or kept.epoch != epoch - 1 or kept.received != received:
            return None
        return kept.digest


def going_down() -> Refused:
    return Refused(
        Refusal.UNAVAILABLE,
        "The service is restarting; what was sent is kept.",
        headers={"Retry-After": "1", "Connection": "close"},
    )
