"""Make room for an upload: an id, a row, an expiry. Bytes come later, or with the same request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

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
from jobyard_files.handlers.seal_file import Sealer
from jobyard_files.outbound.disk import Disk
from jobyard_files.store import events, files, uploads

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclass(frozen=True, kw_only=True)
class Creation:
    """A creation request. `size` in bytes, None for a deferred length; `header` is `Upload-Metadata` as it came."""

    tenant: str
    cause: Cause
    size: int | None
    metadata: dict[str, str]
    header: str


class CreateUpload:
    """`floor_bytes` stay free on the disk; `max_open` bounds the unfinished uploads of a tenant."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        disk: Disk,
        *,
        sealer: Sealer,
        relay: Relay,
        clock: Clock,
        cell: str,
        life: timedelta,
        floor_bytes: int,
        max_open: int,
    ) -> None:
        self._pool = pool
        self._disk = disk
        self._sealer = sealer
        self._relay = relay
        self._clock = clock
        self._cell = cell
        self._life = life
        self._floor_bytes = floor_bytes
        self._max_open = max_open

    async def __call__(self, order: Creation) -> File:
        """Raises Refused: no room, or too many unfinished uploads."""
        if self._disk.free_bytes() - (order.size or 0) < self._floor_bytes:
            raise Refused(Refusal.NO_SPACE, "The server has no room for a file of this size.")
        if await uploads.count_open(self._pool, tenant=order.tenant, most=self._max_open) >= self._max_open:
            detail = f"There are {self._max_open} unfinished uploads; finish or delete some first."
            raise Refused(Refusal.TOO_MANY, detail, headers={"Retry-After": "60"})
        file = self._new(order)
        async with self._pool.acquire() as db, db.transaction():
            await uploads.insert(db, file)
            await events.tell(db, "created", [(file, order.cause)])
        self._relay.wake()
        if file.state is FileState.HASHING:
            await self._sealer.seal_now(file, sha256=EMPTY_SHA256)
            return await files.find(self._pool, tenant=file.tenant, file_id=file.id) or file
        return file

    def _new(self, order: Creation) -> File:
        now = milliseconds(self._clock.now())
        given = order.metadata
        name = safe_name(given.get("filename") or given.get("name") or "")
        kind = content_types.declared(given.get("filetype") or given.get("content_type") or given.get("type"))
        empty = order.size == 0
        return File(
            id=new_id("file", cell=self._cell),
            tenant=order.tenant,
            name=name,
            content_type=kind or content_types.from_name(name) or "",
            size=order.size,
            received=0,
            sha256=None,
            state=FileState.HASHING if empty else FileState.UPLOADING,
            created_at=now,
            completed_at=now if empty else None,
            expires_at=None if empty else now + self._life,
            job_id=None,
            attempt=None,
            fence=None,
            upload_metadata=order.header,
            writer_epoch=0,
            event_no=1,
            actor=order.cause.actor,
            correlation_id=order.cause.correlation_id,
            traceparent=order.cause.traceparent,
        )
