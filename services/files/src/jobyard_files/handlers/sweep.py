"""Remove what nobody needs any more, each kind by its own rule, in small steps that any replica may take.

- unfinished uploads expire some time after their last byte;
- held outputs go only on the executor's word that their attempt does not count; no answer, no deletion;
- contents go when no file names them, after a pause, marked first and unlinked under the row's lock;
- what lies on the disk without a row is a left-over of a crash; it goes when it is old and still has none;
- tombstones of gone files are kept a while, so that their owners are told `gone` and not `unknown`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import asyncpg
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.outbox import Relay
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry.logging import get_logger

from jobyard_files.domain.cause import by_system
from jobyard_files.domain.file import File
from jobyard_files.domain.held import Fate, Verdict, fate_of
from jobyard_files.outbound.disk import Disk
from jobyard_files.outbound.executor import Commits
from jobyard_files.store import blobs, events, sweeps

log = get_logger("sweep")
T = TypeVar("T")
STEP = 200


@dataclass(frozen=True, kw_only=True)
class SweepRules:
    """How long each kind is kept after it became useless."""

    held: timedelta
    unused_blob: timedelta
    orphan_part: timedelta
    orphan_blob: timedelta
    tombstone: timedelta


class Sweep:
    def __init__(
        self,
        pool: asyncpg.Pool,
        disk: Disk,
        threads: Executor,
        *,
        commits: Commits,
        relay: Relay,
        clock: Clock,
        rules: SweepRules,
    ) -> None:
        self._pool = pool
        self._disk = disk
        self._threads = threads
        self._commits = commits
        self._relay = relay
        self._clock = clock
        self._rules = rules

    async def __call__(self) -> None:
        await self.uploads()
        await self.held()
        await self.blobs()
        await sweeps.forget_gone(self._pool, now=self._clock.now(), kept=self._rules.tombstone, limit=STEP)

    async def disk(self) -> None:
        """Look through the whole store for what no row knows; slow, so done seldom."""
        await self.orphan_parts()
        await self.orphan_blobs()

    async def uploads(self) -> None:
        while True:
            async with self._pool.acquire() as db, db.transaction():
                gone = await sweeps.expire_uploads(db, now=self._clock.now(), limit=STEP)
                await self._tell(db, "expired", gone)
            for file in gone:
                await self._in_thread(self._disk.remove_part, file.id)
            if len(gone) < STEP:
                return

    async def held(self) -> None:
        """Ask about each old attempt; the executor's silence keeps everything."""
        before = self._clock.now() - self._rules.held
        for attempt in await sweeps.old_attempts(self._pool, before=before, limit=STEP):
            verdict = await self._commits.verdict(attempt)
            if verdict is Verdict.UNKNOWN:
                return
            fate = fate_of(verdict)
            if fate is Fate.KEEP:
                continue
            async with self._pool.acquire() as db, db.transaction():
                if fate is Fate.RELEASE:
                    await self._tell(db, "released", await sweeps.release_held(db, attempt))
                else:
                    await self._tell(db, "expired", await sweeps.expire_held(db, attempt, now=self._clock.now()))

    async def blobs(self) -> None:
        await blobs.mark_unused(self._pool, grace=self._rules.unused_blob, limit=STEP)
        for _ in range(STEP):
            async with self._pool.acquire() as db, db.transaction():
                sha256 = await blobs.take_leaving(db)
                if sha256 is None:
                    return
                await self._in_thread(self._disk.remove_blob, sha256)
                await blobs.forget(db, sha256=sha256)
            log.info("blob.removed", sha256=sha256)

    async def orphan_parts(self) -> None:
        age_s = self._rules.orphan_part.total_seconds()
        ids = await self._in_thread(lambda: list(self._disk.old_parts(age_s=age_s)))
        for start in range(0, len(ids), STEP):
            some = ids[start : start + STEP]
            needed = await sweeps.open_ids(self._pool, ids=some)
            for file_id in some:
                if file_id not in needed:
                    await self._in_thread(self._disk.remove_part, file_id)

    async def orphan_blobs(self) -> None:
        """Contents without a row are given one that is already leaving, and go with the next round."""
        age_s = self._rules.orphan_blob.total_seconds()
        names = await self._in_thread(lambda: list(self._disk.old_blobs(age_s=age_s)))
        for staged in [name for name in names if "." in name]:
            await self._in_thread(self._disk.remove_staged, staged)
        whole = [name for name in names if "." not in name]
        for start in range(0, len(whole), STEP):
            for sha256 in await blobs.claim_orphans(self._pool, names=whole[start : start + STEP]):
                log.warning("blob.orphaned", sha256=sha256)

    async def _tell(self, db: Connection, verb: str, changed: list[File]) -> None:
        await events.tell(db, verb, [(file, by_system(file)) for file in changed])
        if changed:
            log.info("files.swept", verb=verb, count=len(changed))
            self._relay.wake()

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
