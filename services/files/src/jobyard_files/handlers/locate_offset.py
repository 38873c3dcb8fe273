"""Tell where an upload stands: what is recorded and really on the disk, after any writer was brought to its end."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import replace

import asyncpg
from jobyard_common.telemetry.logging import get_logger

from jobyard_files.domain.file import File, FileState
from jobyard_files.handlers.find_file import FindFile
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.outbound.disk import Disk
from jobyard_files.store import uploads

log = get_logger("locate")


class LocateOffset:
    def __init__(self, pool: asyncpg.Pool, disk: Disk, threads: Executor, *, find: FindFile, live: LiveUploads) -> None:
        self._pool = pool
        self._disk = disk
        self._threads = threads
        self._find = find
        self._live = live

    async def __call__(self, *, tenant: str, file_id: str) -> File:
        """The file with its true offset; a writer that will not end in time does not keep the answer back.

        Raises:
            Refused: not found or gone.
        """
        await self._find.visible(tenant=tenant, file_id=file_id)
        await self._live.settle(file_id)
        file = await self._find.visible(tenant=tenant, file_id=file_id)
        if file.state is not FileState.UPLOADING or not file.received:
            return file
        on_disk = await asyncio.get_running_loop().run_in_executor(self._threads, self._disk.part_size, file_id)
        if on_disk >= file.received:
            return file
        log.error("upload.bytes_lost", file_id=file_id, recorded=file.received, on_disk=on_disk)
        await uploads.lower(self._pool, tenant=tenant, file_id=file_id, received=on_disk)
        return replace(file, received=on_disk)
