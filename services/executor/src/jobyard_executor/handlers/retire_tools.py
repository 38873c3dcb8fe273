"""Versions of tools that nobody runs any more, and the jobs that still wait for them.

A version is retired when no worker has offered it for a time. The registry learns of it by a null record, so that no
new job is pinned to it; its waiting jobs end as `failed/rejected`. An executor that comes back with the version makes
it live again; jobs that were rejected stay so, and may be retried by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import msgspec
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.jobs import JobError
from jobyard_common.contracts.tools import TOOL_DEFINED
from jobyard_common.contracts.topics import TOOLS
from jobyard_common.db.connection import Connection
from jobyard_common.messaging import outbox
from jobyard_common.messaging.publisher import OutRecord
from jobyard_common.telemetry.context import new_trace
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.job import Cause, Step, next_state
from jobyard_executor.domain.lane import parse
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import SYSTEM, Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.store import jobs, tool_versions
from jobyard_executor.store.tool_versions import Version

log = get_logger("tools")
SEEN_EVERY = timedelta(minutes=5)
LOOKED_FOR = timedelta(hours=1)
"""After a standstill of everything, executors have this long to come back with their tools."""
MOST_LANES = 10_000
BATCH = 500


@dataclass
class RetireTools:
    """`after`: for how long nobody must have offered a version. One instance a process, called every minute."""

    engine: Engine
    pool: asyncpg.Pool
    after: timedelta
    _began: float | None = None

    async def __call__(self) -> int:
        """Note what is offered, retire what is not, reject who waits for it; returns how many jobs that were."""
        now = self.engine.clock.monotonic()
        self._began = now if self._began is None else self._began
        async with self.pool.acquire() as connection:
            await tool_versions.seen(connection, older_than=min(SEEN_EVERY, self.after / 4))
            if now - self._began >= min(LOOKED_FOR, self.after).total_seconds():
                await self._retire(connection)
            return await self._reject(connection)

    async def work(self) -> None:
        await self()

    async def _retire(self, connection: Connection) -> None:
        async with connection.transaction():
            gone = await tool_versions.retire(connection, after=self.after)
            await outbox.put(connection, [_farewell(version, source=self.engine.source) for version in gone])
        if gone:
            self.engine.known_tools -= set(gone)
            self.engine.wake_relay()
            log.warning("tools.retired", tools=[f"{name}@{version}" for name, version in gone])

    async def _reject(self, connection: Connection) -> int:
        retired = await tool_versions.retired(connection)
        if not retired:
            return 0
        count = 0
        for lane in await tool_versions.lanes(connection, limit=MOST_LANES):
            found = parse(lane)
            if (found.tool, found.version) in retired:
                count += await self._reject_lane(connection, lane, (found.tool, found.version))
        if count:
            self.engine.wake_relay()
        return count

    async def _reject_lane(self, connection: Connection, lane: str, version: Version) -> int:
        count = 0
        while True:
            async with connection.transaction():
                rejected = await self._reject_batch(connection, lane, version)
            count += rejected
            if rejected < BATCH:
                return count

    async def _reject_batch(self, connection: Connection, lane: str, version: Version) -> int:
        locked = await jobs.lock_free(connection, await tool_versions.waiting(connection, lane, limit=BATCH))
        write = self.engine.write(locked.epoch)
        now = self.engine.clock.now()
        text = f"No executor has offered {version[0]} in version {version[1]} for {self.after}."
        for job in locked.jobs.values():
            step = next_state(job, Cause.TOOL_RETIRED)
            if isinstance(step, Step):
                error = JobError("tool_retired", text, None, None, False, job.attempt)
                job.error = msgspec.json.encode(error).decode()
                move(write, job, step, now=now, actor=SYSTEM)
        await write.flush(connection)
        await resolve_children(self.engine, connection, write.terminal)
        return len(write.terminal)


def _farewell(version: Version, *, source: str) -> OutRecord:
    """The record without a value that takes a version out of the registry."""
    key = f"{version[0]}@{version[1]}"
    envelope = new_envelope(
        TOOL_DEFINED,
        source=source,
        subject=key,
        correlation_id=key,
        traceparent=new_trace(sampled=False).format(),
    )
    return OutRecord(TOOLS.name, key, None, headers_of(envelope))
