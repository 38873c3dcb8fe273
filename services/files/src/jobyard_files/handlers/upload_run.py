"""One PATCH while it runs: bytes to the disk, and their offset to the database behind them."""

from __future__ import annotations

import contextlib
import hashlib
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from jobyard_common.runtime.clock import Clock
from jobyard_common.runtime.crash import crash

from jobyard_files.domain.file import File
from jobyard_files.domain.tus import Checksum
from jobyard_files.handlers.append_refusals import ended, too_long
from jobyard_files.handlers.body import Body, Ending
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.handlers.part_sink import PartSink
from jobyard_files.outbound.disk import Part
from jobyard_files.store import uploads

RECORD_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Append:
    """One PATCH. `length` is what its body declares, `total` an `Upload-Length` that settles a deferred one."""

    tenant: str
    file_id: str
    offset: int
    length: int | None = None
    total: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, kw_only=True)
class AppendLimits:
    """Sizes in bytes, `idle_s` in seconds without any byte, `life` from the last byte to expiry."""

    max_size: int
    checkpoint_bytes: int
    idle_s: float
    life: timedelta


class UploadRun:
    """`recorded` is the offset that the database holds, `size` the length of the upload if it is known."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        part: Part,
        threads: Executor,
        *,
        file: File,
        order: Append,
        size: int | None,
        live: LiveUploads,
        clock: Clock,
        limits: AppendLimits,
    ) -> None:
        self._pool = pool
        self._part = part
        self._clock = clock
        self._limits = limits
        self._checksum = order.checksum
        self.file = file
        self.size = size
        self.recorded = file.received
        self.digest = live.recall(file.id, epoch=file.writer_epoch, received=file.received)
        self.digest_before = self.digest.copy() if self.digest is not None and order.checksum else None
        self._chunk = hashlib.new(order.checksum.algorithm, usedforsecurity=False) if order.checksum else None
        digests = [digest for digest in (self.digest, self._chunk) if digest is not None]
        self.sink = PartSink(part, start=file.received, digests=digests, threads=threads)

    def expires_at(self) -> datetime:
        return self._clock.now() + self._limits.life

    async def take(self, body: Body) -> Ending:
        """Read until the body ends; bytes past the length are refused and none of that piece is kept."""
        self._part.truncate(self.file.received)
        limit = self._limits.max_size if self.size is None else self.size
        last_byte = last_record = time.monotonic()
        while True:
            piece = await body.read(wait_s=min(RECORD_EVERY_S, self._limits.idle_s))
            now = time.monotonic()
            if isinstance(piece, Ending):
                return piece
            if piece is None:
                if now - last_byte >= self._limits.idle_s:
                    return Ending.IDLE
            elif self.sink.position + len(piece) > limit:
                await self.abandon()
                raise too_long(self.recorded)
            else:
                last_byte = now
                await self.sink.put(piece)
            unrecorded = self.sink.position - self.recorded
            if unrecorded >= self._limits.checkpoint_bytes or (unrecorded and now - last_record >= RECORD_EVERY_S):
                await self.record(last=False)
                last_record = time.monotonic()

    async def record(self, *, last: bool) -> File | None:
        """Sync, then move the offset; the file itself once its last byte is recorded.

        The offset reaches the length only with the end of the body: bytes that follow would make the upload wrong.
        """
        if not last and (self._checksum is not None or self.sink.position == self.size):
            return None
        reached = await self.sink.sync()
        crash("K15")
        if last and reached == self.size:
            done = await uploads.finish(self._pool, self.file, received=reached, now=self._clock.now())
            if done is None:
                raise ended(Ending.TAKEN_OVER, None)
            self.recorded = reached
            return done
        if not await uploads.advance(
            self._pool, self.file, received=reached, expires_at=self.expires_at(), size=self.size
        ):
            raise ended(Ending.TAKEN_OVER, None)
        self.recorded = reached
        return None

    async def checksum_holds(self, ending: Ending) -> bool:
        """True without a checksum; a chunk that is not whole never has the right one."""
        if self._chunk is None or self._checksum is None:
            return True
        if ending is not Ending.WHOLE:
            return False
        await self.sink.sync()
        return self._chunk.digest() == self._checksum.digest

    async def abandon(self) -> None:
        """Forget what was taken since the last record."""
        with contextlib.suppress(OSError):
            await self.sink.settle()
        self._part.truncate(self.recorded)
