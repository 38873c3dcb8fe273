"""Delete a file: its owner sees it no more at once; its bytes go when no other file shares them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

import asyncpg
from jobyard_common.messaging.outbox import Relay
from jobyard_common.runtime.clock import Clock

from jobyard_files.domain.cause import Cause
from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.handlers.find_file import FindFile
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.outbound.disk import Disk
from jobyard_files.store import events, files


class DeleteFile:
    def __init__(
        self,
        pool: asyncpg.Pool,
        disk: Disk,
        threads: Executor,
        *,
        find: FindFile,
        live: LiveUploads,
        relay: Relay,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._disk = disk
        self._threads = threads
        self._find = find
        self._live = live
        self._relay = relay
        self._clock = clock

    async def __call__(self, *, tenant: str, file_id: str, cause: Cause) -> None:
        """Raises Refused: not found, gone, or a job that has not ended needs it."""
        await self._find.visible(tenant=tenant, file_id=file_id)
        await self._live.settle(file_id)
        async with self._pool.acquire() as db, db.transaction():
            await files.lock(db, tenant=tenant, file_id=file_id)
            job_id = await files.held_by(db, file_id=file_id)
            if job_id is not None:
                raise Refused(Refusal.IN_USE, f"The job {job_id} still needs this file; cancel it or wait for its end.")
            gone = await files.delete(db, tenant=tenant, file_id=file_id, now=self._clock.now())
            if gone is None:
                raise Refused(Refusal.GONE, "This file was deleted already.")
            await events.tell(db, "deleted", [(gone, cause)])
            await events.audit(db, "file.delete", gone, cause)
        self._relay.wake()
        await asyncio.get_running_loop().run_in_executor(self._threads, self._disk.remove_part, file_id)
