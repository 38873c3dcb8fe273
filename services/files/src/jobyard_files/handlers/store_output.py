"""Store what a running attempt wrote: hidden (`held`) until the finish of exactly this attempt is recorded."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import asyncpg
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.wire import milliseconds
from jobyard_common.messaging.outbox import Relay
from jobyard_common.runtime.clock import Clock

from jobyard_files.domain import content_types
from jobyard_files.domain.cause import Cause
from jobyard_files.domain.file import File, FileState
from jobyard_files.domain.names import safe_name
from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.handlers.body import Body, Ending
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.handlers.part_sink import PartSink
from jobyard_files.outbound.disk import Disk, Part
from jobyard_files.store import blobs, events, files, uploads
from jobyard_files.store.sweeps import Attempt

LEAVING_TRIES = 50
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Output:
    """`length` is the declared length of the body in bytes, if it was declared."""

    attempt: Attempt
    name: str
    content_type: str | None
    length: int | None
    cause: Cause


@dataclass(frozen=True)
class OutputLimits:
    """For one attempt."""

    files: int = 1000
    bytes: int = 10 * 2**30


class StoreOutput:
    def __init__(
        self,
        pool: asyncpg.Pool,
        disk: Disk,
        threads: Executor,
        *,
        live: LiveUploads,
        relay: Relay,
        clock: Clock,
        cell: str,
        limits: OutputLimits,
        idle_s: float,
    ) -> None:
        self._pool = pool
        self._disk = disk
        self._threads = threads
        self._live = live
        self._relay = relay
        self._clock = clock
        self._cell = cell
        self._limits = limits
        self._idle_s = idle_s

    async def __call__(self, order: Output, body: Body) -> File:
        """Take the whole body. The same request again, after an answer was lost, gives the same file.

        Raises:
            Refused: more than an attempt may write, no room, or the body did not come whole; nothing is kept then.
        """
        room = await self._room(order)
        file_id = new_id("file", cell=self._cell)
        async with self._live.claim(file_id, body):
            part = await self._in_thread(lambda: self._disk.open_part(file_id))
            try:
                size, sha256 = await self._receive(part, body, room)
                file = self._new(order, file_id, size=size, sha256=sha256)
                return await self._keep(file, order)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise Refused(Refusal.NO_SPACE, "The server's disk is full.") from None
                raise
            finally:
                part.close()
                await self._in_thread(lambda: self._disk.remove_part(file_id))

    async def _room(self, order: Output) -> int:
        at = order.attempt
        count, used = await files.output_use(
            self._pool, tenant=at.tenant, job_id=at.job_id, attempt=at.attempt, fence=at.fence
        )
        room = self._limits.bytes - used
        if count >= self._limits.files:
            raise Refused(Refusal.TOO_LARGE, f"A job may write at most {self._limits.files} files.")
        if (order.length or 0) > room:
            raise self._too_much()
        return room

    def _too_much(self) -> Refused:
        return Refused(Refusal.TOO_LARGE, f"A job may write at most {self._limits.bytes} bytes.")

    async def _receive(self, part: Part, body: Body, room: int) -> tuple[int, str]:
        digest = hashlib.sha256()
        sink = PartSink(part, start=0, digests=[digest], threads=self._threads)
        try:
            while True:
                piece = await body.read(wait_s=self._idle_s)
                if isinstance(piece, bytes):
                    if sink.position + len(piece) > room:
                        raise self._too_much()
                    await sink.put(piece)
                elif piece is Ending.WHOLE:
                    return await sink.sync(), digest.hexdigest()
                else:
                    detail = "The body did not come whole; nothing was kept."
                    raise Refused(Refusal.UNAVAILABLE, detail, headers={"Retry-After": "1", "Connection": "close"})
        finally:
            await sink.settle()

    async def _keep(self, file: File, order: Output) -> File:
        for _ in range(LEAVING_TRIES):
            try:
                return await self._transaction(file, order)
            except blobs.BlobLeaving:
                await asyncio.sleep(0.1)
        raise Refused(Refusal.UNAVAILABLE, "The same content is being removed; send it again.")

    async def _transaction(self, file: File, order: Output) -> File:
        assert file.sha256 is not None and file.size is not None
        sha256, size, at = file.sha256, file.size, order.attempt
        async with self._pool.acquire() as db, db.transaction():
            # Locks the content first, so the same output sent twice at once is seen by the second.
            await blobs.adopt(db, sha256=sha256, size=size)
            same = await files.same_output(
                db,
                tenant=at.tenant,
                job_id=at.job_id,
                attempt=at.attempt,
                fence=at.fence,
                name=file.name,
                sha256=sha256,
            )
            if same is not None:
                return same
            await self._in_thread(lambda: self._disk.link_blob(file.id, sha256=sha256, size=size))
            await uploads.insert(db, file)
            await events.tell(db, "created", [(file, order.cause)])
        self._relay.wake()
        return file

    def _new(self, order: Output, file_id: str, *, size: int, sha256: str) -> File:
        now = milliseconds(self._clock.now())
        name = safe_name(order.name)
        kind = content_types.declared(order.content_type) or content_types.from_name(name)
        if kind is None or kind == content_types.UNKNOWN:
            head = self._disk.head(file_id, count=content_types.SNIFF_BYTES)
            kind = content_types.from_name(name) or content_types.from_bytes(head)
        return File(
            id=file_id,
            tenant=order.attempt.tenant,
            name=name,
            content_type=kind,
            size=size,
            received=size,
            sha256=sha256,
            state=FileState.HELD,
            created_at=now,
            completed_at=now,
            expires_at=None,
            job_id=order.attempt.job_id,
            attempt=order.attempt.attempt,
            fence=order.attempt.fence,
            upload_metadata="",
            writer_epoch=0,
            event_no=1,
            actor=order.cause.actor,
            correlation_id=order.cause.correlation_id,
            traceparent=order.cause.traceparent,
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
