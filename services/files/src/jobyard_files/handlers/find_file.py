"""Find a file for somebody: of the own tenant, not gone, and if a job made it, only once that job's finish counts."""

from __future__ import annotations

import asyncpg
from jobyard_common.contracts.ids import is_id
from jobyard_common.messaging.outbox import Relay
from jobyard_common.runtime.clock import Clock

from jobyard_files.domain.cause import by_system
from jobyard_files.domain.file import GONE, File, FileState
from jobyard_files.domain.held import Verdict
from jobyard_files.domain.refusals import Refusal, Refused, not_found
from jobyard_files.outbound.executor import Commits
from jobyard_files.store import events, files, sweeps
from jobyard_files.store.sweeps import Attempt


class FindFile:
    def __init__(self, pool: asyncpg.Pool, commits: Commits, *, relay: Relay, clock: Clock) -> None:
        self._pool = pool
        self._commits = commits
        self._relay = relay
        self._clock = clock

    async def visible(self, *, tenant: str, file_id: str) -> File:
        """The file as its owner may see it now.

        Raises:
            Refused: not found, gone, or the executor that could tell is away.
        """
        file = await self.inside(tenant=tenant, file_id=file_id)
        if file.state is FileState.HELD:
            return await self._settled(file)
        return file

    async def inside(self, *, tenant: str, file_id: str) -> File:
        """The same for services of ours, which may read an output before its job has ended."""
        file = await files.find(self._pool, tenant=tenant, file_id=file_id) if is_id("file", file_id) else None
        if file is None:
            raise not_found()
        if file.state in GONE or (file.expires_at is not None and file.expires_at <= self._clock.now()):
            raise Refused(Refusal.GONE, "This file was deleted or its upload expired.")
        return file

    async def known(self, *, tenant: str, ids: list[str]) -> dict[str, str | None]:
        """Those of `ids` that a job may take as input (complete, and if outputs, committed), with their SHA-256.

        Raises:
            Refused: the executor that could tell is away.
        """
        found = await files.find_many(self._pool, tenant=tenant, ids=[one for one in ids if is_id("file", one)])
        known = {file.id: file.sha256 for file in found if file.state in (FileState.HASHING, FileState.READY)}
        for file in found:
            if file.state is FileState.HELD and await self._committed(file):
                known[file.id] = file.sha256
        return {one: known[one] for one in dict.fromkeys(ids) if one in known}

    async def _settled(self, file: File) -> File:
        if not await self._committed(file):
            raise not_found()
        now = await files.find(self._pool, tenant=file.tenant, file_id=file.id)
        if now is None or now.state is not FileState.READY:
            raise not_found()
        return now

    async def _committed(self, file: File) -> bool:
        """Ask, and release all outputs of the attempt if it counts: the event may still be on its way."""
        assert file.job_id is not None and file.attempt is not None and file.fence is not None
        attempt = Attempt(file.tenant, file.job_id, file.attempt, file.fence)
        verdict = await self._commits.verdict(attempt)
        if verdict is Verdict.UNKNOWN:
            detail = "Whether this output counts cannot be told at the moment."
            raise Refused(Refusal.UNAVAILABLE, detail, headers={"Retry-After": "1"})
        if verdict is not Verdict.COMMITTED:
            return False
        async with self._pool.acquire() as db, db.transaction():
            released = await sweeps.release_held(db, attempt)
            await events.tell(db, "released", [(row, by_system(row)) for row in released])
        self._relay.wake()
        return True
