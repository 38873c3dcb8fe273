"""What we promised lately, so that a promise can be shown while the executor can't show the job yet.

In memory, in Valkey for ten minutes, and in the spool for as long as a command waits there.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
from jobyard_common.contracts.envelope import EnvelopeInvalid, decode
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import WireError, rfc3339
from jobyard_common.contracts.wire import decode as read
from jobyard_common.db.connection import Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.telemetry.context import parse

from jobyard_gateway.domain.views import accepted
from jobyard_gateway.outbound.shelf import Shelf, Unknown
from jobyard_gateway.store import spool

TTL_S = 600
CAPACITY = 20_000


class Promise(msgspec.Struct, frozen=True):
    """A submit that was answered with 202: the command as it was published."""

    command: bytes
    correlation_id: str
    trace_id: str


class Ledger:
    """Promises by job id, the newest `CAPACITY` of this process first."""

    def __init__(self, shelf: Shelf, pool: Pool) -> None:
        self._shelf = shelf
        self._pool = pool
        self._recent: OrderedDict[str, tuple[str, Promise]] = OrderedDict()

    def record(self, job_id: str, promise: Promise, *, tenant: str) -> None:
        self._recent[job_id] = (tenant, promise)
        if len(self._recent) > CAPACITY:
            self._recent.popitem(last=False)
        self._shelf.put_later(f"promise:{job_id}", msgspec.msgpack.encode(promise), ttl_s=TTL_S)

    def knows(self, job_id: str, *, tenant: str) -> bool:
        """Whether this process promised the job; looks nowhere else."""
        found = self._recent.get(job_id)
        return found is not None and found[0] == tenant

    async def view(self, job_id: str, *, tenant: str) -> bytes | None:
        """The promised job as the 202 showed it, if anybody still knows the promise."""
        found = self._recent.get(job_id)
        promise = found[1] if found else await self._shelved(job_id) or await self._spooled(job_id)
        if promise is None:
            return None
        try:
            command = read(SubmitJob, promise.command)
        except WireError:
            return None
        return view_of(command, promise) if command.tenant == tenant else None

    async def _shelved(self, job_id: str) -> Promise | None:
        try:
            found = await self._shelf.get(f"promise:{job_id}")
            return msgspec.msgpack.decode(found, type=Promise) if found else None
        except (Unknown, msgspec.DecodeError):
            return None

    async def _spooled(self, job_id: str) -> Promise | None:
        try:
            found = await spool.first(self._pool, job_id, topic=JOBS_COMMANDS.name, timeout_s=0.5)
        except Exception as error:
            if not is_retryable(error):
                raise
            return None
        if found is None:
            return None
        value, headers = found
        try:
            envelope = decode(headers)
        except EnvelopeInvalid:
            return None
        trace = parse(envelope.traceparent)
        return Promise(value, envelope.correlation_id, trace.trace_id if trace else "")


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
