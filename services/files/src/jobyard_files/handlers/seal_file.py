"""Give a complete upload its hash and its place among the blobs.

Usually the hash was made while the bytes came and this takes one transaction; after a restart the part is read once
more, in a thread. The link is made inside the transaction, under the lock of the blob's row, so that no sweep removes
what is about to be used. Dying anywhere leaves a file in `hashing`, which is picked up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import asyncpg
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.outbox import Relay
from jobyard_common.runtime.crash import crash
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_files.domain import content_types
from jobyard_files.domain.cause import by_maker
from jobyard_files.domain.file import File, FileState
from jobyard_files.outbound.disk import BlobMissing, Disk
from jobyard_files.store import blobs, events, files

log = get_logger("seal")
T = TypeVar("T")
LEAVING_PAUSE_S = 0.1
LEAVING_TRIES = 50


class Sealer(Component):
    """Seals files at once where the hash is known, the others in the background, one after another."""

    name = "sealer"

    def __init__(
        self, pool: asyncpg.Pool, disk: Disk, threads: Executor, *, relay: Relay, look_every_s: float = 5.0
    ) -> None:
        super().__init__()
        self._pool = pool
        self._disk = disk
        self._threads = threads
        self._relay = relay
        self._look_every_s = look_every_s
        self._wake = asyncio.Event()

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def seal_now(self, file: File, *, sha256: str | None) -> None:
        """Seal with a hash that is known; otherwise, or if that fails for now, leave it to the background."""
        if sha256 is not None:
            try:
                await self.seal(file, sha256=sha256)
                return
            except Exception as error:
                if not is_retryable(error) and not isinstance(error, blobs.BlobLeaving):
                    raise
                log.warning("seal.postponed", file_id=file.id, error=f"{type(error).__name__}: {error}"[:200])
        self._wake.set()

    async def seal(self, file: File, *, sha256: str) -> None:
        for _ in range(LEAVING_TRIES):
            try:
                await self._transaction(file, sha256)
                break
            except blobs.BlobLeaving:
                await asyncio.sleep(LEAVING_PAUSE_S)
        else:
            raise blobs.BlobLeaving(sha256)
        self._relay.wake()
        await self._in_thread(self._disk.remove_part, file.id)

    async def _transaction(self, file: File, sha256: str) -> None:
        head = await self._in_thread(lambda: self._disk.head(file.id, count=content_types.SNIFF_BYTES))
        kind = file.content_type or content_types.from_bytes(head)
        async with self._pool.acquire() as db, db.transaction():
            row = await files.lock(db, tenant=file.tenant, file_id=file.id)
            if row is None or row.state is not FileState.HASHING:
                return
            await blobs.adopt(db, sha256=sha256, size=row.received)
            await self._in_thread(lambda: self._disk.link_blob(file.id, sha256=sha256, size=row.received))
            crash("K15")
            sealed = await files.seal(db, tenant=file.tenant, file_id=file.id, sha256=sha256, content_type=kind)
            assert sealed is not None
            await events.tell(db, "completed", [(sealed, by_maker(sealed))])

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                for file in await files.unsealed(self._pool, limit=100):
                    await self._hash_and_seal(file)
            except Exception as error:
                if not is_retryable(error) and not isinstance(error, blobs.BlobLeaving):
                    raise
                log.warning("seal.interrupted", error=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(0.5)
            try:
                async with asyncio.timeout(self._look_every_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _hash_and_seal(self, file: File) -> None:
        try:
            sha256 = await self._in_thread(lambda: self._disk.hash_part(file.id, size=file.received))
        except BlobMissing:
            # Another process may have sealed it since the look; else the volume lost it, which an operator must see.
            now = await files.find(self._pool, tenant=file.tenant, file_id=file.id)
            if now is not None and now.state is FileState.HASHING:
                log.error("upload.bytes_lost", file_id=file.id, recorded=file.received)
            return
        await self.seal(file, sha256=sha256)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
