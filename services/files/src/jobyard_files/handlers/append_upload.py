"""Append bytes to an upload: the one place where its offset moves.

1. be the only writer: in this process, on this disk (a lock), in the database (a new writer epoch);
2. the offset is the smaller of what is recorded and what the disk has; what lies behind it is cut off;
3. bytes go to the disk; every `checkpoint_bytes` or second they are synced and then recorded, if we are still the
   newest writer; nobody is told an offset before that;
4. the last byte recorded makes the file `hashing`, and its hash makes it `ready`.

Dying anywhere loses at most what was not yet recorded, and the client learns from HEAD where to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger

from jobyard_files.domain.file import COMPLETE, File
from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.domain.tus import malformed, within
from jobyard_files.handlers.append_refusals import disk_full, ended, mismatch, too_long, wrong_checksum
from jobyard_files.handlers.body import Body, Ending
from jobyard_files.handlers.find_file import FindFile
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.handlers.seal_file import Sealer
from jobyard_files.handlers.upload_run import Append, AppendLimits, UploadRun
from jobyard_files.outbound.disk import Disk, Part, PartBusy
from jobyard_files.store import uploads

if TYPE_CHECKING:
    from hashlib import _Hash

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
log = get_logger("append")


@dataclass(frozen=True)
class Appended:
    received: int
    expires_at: datetime | None


class AppendUpload:
    def __init__(
        self,
        pool: asyncpg.Pool,
        disk: Disk,
        threads: Executor,
        *,
        find: FindFile,
        live: LiveUploads,
        sealer: Sealer,
        clock: Clock,
        limits: AppendLimits,
    ) -> None:
        self._pool = pool
        self._disk = disk
        self._threads = threads
        self._find = find
        self._live = live
        self._sealer = sealer
        self._clock = clock
        self._limits = limits

    async def __call__(self, order: Append, body: Body) -> Appended:
        """Take as much of `body` as comes.

        Raises:
            Refused: for every outcome but the whole body, with `Upload-Offset` where bytes may have been kept.
        """
        file = await self._find.visible(tenant=order.tenant, file_id=order.file_id)
        if file.state in COMPLETE:
            return await self._nothing_left(file, order, body)
        async with self._live.claim(file.id, body), self._part(file.id) as part:
            begun = await uploads.begin(self._pool, tenant=order.tenant, file_id=file.id)
            if begun is None:
                again = await self._find.visible(tenant=order.tenant, file_id=file.id)
                return await self._nothing_left(again, order, body)
            begun = await self._trust_disk(begun, part)
            try:
                size = self._checked(begun, order)
            except Refused:
                self._live.carry(file.id, epoch=begun.writer_epoch)
                raise
            run = UploadRun(
                self._pool,
                part,
                self._threads,
                file=begun,
                order=order,
                size=size,
                live=self._live,
                clock=self._clock,
                limits=self._limits,
            )
            return await self._receive(run, body)

    async def _nothing_left(self, file: File, order: Append, body: Body) -> Appended:
        """A PATCH of a complete upload: right if it adds nothing at the end."""
        if order.offset != file.received:
            raise mismatch(file.received)
        if order.length or (order.length is None and isinstance(await body.read(wait_s=self._limits.idle_s), bytes)):
            raise too_long(file.received)
        return Appended(file.received, None)

    @contextlib.asynccontextmanager
    async def _part(self, file_id: str) -> AsyncIterator[Part]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 5
        while True:
            try:
                part = await loop.run_in_executor(self._threads, self._disk.open_part, file_id)
                break
            except PartBusy:
                if loop.time() > deadline:
                    raise Refused(Refusal.LOCKED, "Another server is still writing this upload.") from None
                await asyncio.sleep(0.1)
        try:
            yield part
        finally:
            part.close()

    async def _trust_disk(self, file: File, part: Part) -> File:
        if part.size < file.received:
            log.error("upload.bytes_lost", file_id=file.id, recorded=file.received, on_disk=part.size)
            await uploads.lower(self._pool, tenant=file.tenant, file_id=file.id, received=part.size)
            return replace(file, received=part.size, writer_epoch=file.writer_epoch + 1)
        return file

    def _checked(self, file: File, order: Append) -> int | None:
        """The length of the upload if it is known now."""
        if order.offset != file.received:
            raise mismatch(file.received)
        size = file.size
        if order.total is not None:
            if size is not None and size != order.total:
                raise malformed("Upload-Length was set before and cannot change.")
            size = within(order.total, max_size=self._limits.max_size)
            if size < file.received:
                raise malformed("Upload-Length is less than what was received.")
        room = (self._limits.max_size if size is None else size) - file.received
        if order.length is not None and order.length > room:
            raise too_long(file.received)
        return size

    async def _receive(self, run: UploadRun, body: Body) -> Appended:
        try:
            ending = await run.take(body)
            return await self._answer(run, ending)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            log.error("upload.disk_full", file_id=run.file.id, recorded=run.recorded)
            await run.abandon()
            raise disk_full(run.recorded) from None
        finally:
            with contextlib.suppress(OSError):
                await run.sink.settle()
            metrics.UPLOADED_BYTES.inc(max(0, run.recorded - run.file.received))

    async def _answer(self, run: UploadRun, ending: Ending) -> Appended:
        if not await run.checksum_holds(ending):
            await run.abandon()
            self._remember(run, run.digest_before)
            if ending is Ending.WHOLE:
                raise wrong_checksum(run.recorded)
        else:
            done = await run.record(last=True)
            if done is not None:
                await self._sealer.seal_now(done, sha256=run.digest.hexdigest() if run.digest else None)
                return Appended(run.recorded, None)
            self._remember(run, run.digest)
        if ending is Ending.WHOLE:
            return Appended(run.recorded, run.expires_at())
        raise ended(ending, run.recorded)

    def _remember(self, run: UploadRun, digest: _Hash | None) -> None:
        if digest is not None:
            self._live.remember(run.file.id, digest, epoch=run.file.writer_epoch, received=run.recorded)
