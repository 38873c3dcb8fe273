"""What we promised lately, so that a promise can be shown while the executor can't show the job yet.

In memory, in Valkey for ten minutes, and in the spool for as long as a command waits there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import msgspec
from jobyard_common.contracts.envelope import EnvelopeInvalid, decode
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import WireError, rfc3339
from jobyard_common.contracts.wire import decode as read
from jobyard_common.db.breaker import Breaker
from jobyard_common.db.connection import Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.telemetry.context import parse

from jobyard_gateway.domain.views import accepted
from jobyard_gateway.outbound.shelf import Shelf, Unknown
from jobyard_gateway.store import spool

TTL_S = 600
SPOOL_DEADLINE_S = 0.5
CAPACITY = 20_000
_pack = msgspec.msgpack.Encoder().encode


class SpoolAway(Exception):
    """The spool can't be asked, so a promise may be there that nobody sees."""


class Promise(msgspec.Struct, frozen=True):
    """A submit that was answered with 202: the command as it was published."""

    command: bytes
    correlation_id: str
    trace_id: str


class Ledger:
    """Promises by job id, the newest `CAPACITY` of this process first."""

    def __init__(self, shelf: Shelf, pool: Pool, *, monotonic: Callable[[], float]) -> None:
        self._shelf = shelf
        self._pool = pool
        self._breaker = Breaker(monotonic=monotonic)
        self._recent: OrderedDict[str, tuple[str, Promise]] = OrderedDict()

    def record(self, job_id: str, promise: Promise, *, tenant: str) -> None:
        self._recent[job_id] = (tenant, promise)
        if len(self._recent) > CAPACITY:
            self._recent.popitem(last=False)
        self._shelf.put_later(f"promise:{job_id}", _pack(promise), ttl_s=TTL_S)

    def record_all(self, promises: Mapping[str, Promise], *, tenant: str) -> None:
        """The same for many jobs at once."""
        recent = self._recent
        recent.update({job_id: (tenant, promise) for job_id, promise in promises.items()})
        for _ in range(len(recent) - CAPACITY):
            recent.popitem(last=False)
        self._shelf.put_all_later(
            ((f"promise:{job_id}", _pack(promise)) for job_id, promise in promises.items()), ttl_s=TTL_S
        )

    def knows(self, job_id: str, *, tenant: str) -> bool:
        """Whether this process promised the job; looks nowhere else."""
        found = self._recent.get(job_id)
        return found is not None and found[0] == tenant

    async def view(self, job_id: str, *, tenant: str) -> bytes | None:
        """The promised job as the 202 showed it, if anybody still knows the promise."""
        try:
            return await self.certain_view(job_id, tenant=tenant)
        except SpoolAway:
            return None

    async def certain_view(self, job_id: str, *, tenant: str) -> bytes | None:
        """The same, but None means that no promise waits in the spool. Raises SpoolAway."""
        found = self._recent.get(job_id)
        promise = found[1] if found else await self._shelved(job_id) or await self._spooled(job_id)
        if promise is None:
            return None
        try:
            command = read(SubmitJob, promise.command)
        except WireError:
            return None
        return view_of(command, promise) if command.tenant == tenant else None

    async def waiting(self, job_ids: Sequence[str], *, tenant: str) -> set[str]:
        """Those of the jobs whose submit waits in the spool. Raises SpoolAway."""
        try:
            found = await self._breaker.ask(
                lambda: spool.firsts(self._pool, job_ids, topic=JOBS_COMMANDS.name, timeout_s=SPOOL_DEADLINE_S)
            )
        except Exception as error:
            if not is_retryable(error):
                raise
            raise SpoolAway(f"{type(error).__name__}: {error}"[:200]) from None
        return {job_id for job_id, value in found.items() if _tenant_of(value) == tenant}

    async def _shelved(self, job_id: str) -> Promise | None:
        try:
            found = await self._shelf.get(f"promise:{job_id}")
            return msgspec.msgpack.decode(found, type=Promise) if found else None
        except (Unknown, msgspec.DecodeError):
            return None

    async def _spooled(self, job_id: str) -> Promise | None:
        try:
            found = await self._breaker.ask(
                lambda: spool.first(self._pool, job_id, topic=JOBS_COMMANDS.name, timeout_s=SPOOL_DEADLINE_S)
            )
        except Exception as error:
            if not is_retryable(error):
                raise
            raise SpoolAway(f"{type(error).__name__}: {error}"[:200]) from None
        if found is None:
            return None
        value, headers = found
        try:
            envelope = decode(headers)
        except EnvelopeInvalid:
            return None
        trace = parse(envelope.traceparent)
        return Promise(value, envelope.correlation_id, trace.trace_id if trace else "")


def _tenant_of(command: bytes) -> str | None:
    try:
        return read(SubmitJob, command).tenant
    except WireError:
        return None


def view_of(command: SubmitJob, promise: Promise) -> bytes:
    spec = command.spec
    return accepted(
        job_id=command.job_id,
        tool=spec.tool,
        tool_version=spec.tool_version,
        queue=spec.queue,
        priority=spec.priority,
        max_attempts=spec.retry.max_attempts,
        created_at=rfc3339(command.accepted_at),
        correlation_id=promise.correlation_id,
        trace_id=promise.trace_id,
        parameters=spec.parameters,
        metadata=spec.metadata,
        files=spec.files,
        tags=spec.tags,
        run_at=rfc3339(spec.run_at) if spec.run_at else None,
        origin_id=command.origin_id,
    )
