"""Follow the lives of jobs: their inputs are held from acceptance to the end, their outputs released at the end.

Runs inside the consumer's transaction, so it is repeatable: both directions of a hold and a release are idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from jobyard_common.contracts import wire
from jobyard_common.contracts.jobs import TERMINAL, JobEvent, JobState
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import EnvelopeInvalid, Inbound, Refused

from jobyard_files.domain.cause import Cause
from jobyard_files.store import events, files, sweeps


class _FilesOnly(msgspec.Struct, frozen=True, gc=False):
    files: dict[str, str] = msgspec.field(default_factory=dict)


class _JobView(msgspec.Struct, frozen=True):
    """The members of a job that matter here."""

    id: str
    state: JobState
    files: dict[str, str] = msgspec.field(default_factory=dict)


class _Glance(msgspec.Struct, frozen=True, gc=False):
    """Enough of an event to see that it names no file."""

    job: _FilesOnly
    outputs: tuple[str, ...] = ()


class _Batch:
    """What a batch of events amounts to; a later event of a job overrides an earlier one."""

    def __init__(self) -> None:
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.ended: set[str] = set()
        self.outputs: list[tuple[str, str, str]] = []
        self.causes: dict[str, Cause] = {}

    def add(self, event: JobEvent, view: _JobView, cause: Cause) -> None:
        if view.state not in TERMINAL:
            if view.files:
                self.inputs[view.id] = tuple(view.files.values())
                self.ended.discard(view.id)
            return
        if view.files:
            self.inputs.pop(view.id, None)
            self.ended.add(view.id)
        self.outputs += [(event.tenant, view.id, file_id) for file_id in event.outputs]
        self.causes[view.id] = cause


class ReleaseOutputs:
    async def __call__(self, db: Connection, records: list[Inbound]) -> Sequence[Refused]:
        batch, refused = _Batch(), []
        for record in records:
            try:
                if concerns_files(record.value):
                    batch.add(*_read(record))
            except (wire.WireError, EnvelopeInvalid) as error:
                refused.append(Refused(record, "malformed", str(error)))
        if batch.outputs:
            released = await files.release(db, outputs=batch.outputs)
            await events.tell(db, "released", [(file, batch.causes[file.job_id or ""]) for file in released])
        if batch.inputs:
            await sweeps.place_holds(db, [(one, job) for job, ids in batch.inputs.items() for one in ids])
        if batch.ended:
            await sweeps.lift_holds(db, list(batch.ended))
        return refused


def concerns_files(value: bytes | None) -> bool:
    """Most jobs have no files; their events cost one look. What cannot be read is left to be refused."""
    try:
        seen = wire.decode(_Glance, value or b"")
    except wire.WireError:
        return True
    return bool(seen.outputs or seen.job.files)


def _read(record: Inbound) -> tuple[JobEvent, _JobView, Cause]:
    envelope = record.envelope()
    event = wire.decode(JobEvent, record.value or b"")
    view = wire.decode(_JobView, bytes(event.job))
    context = record.context()
    traceparent = context.format() if context is not None else envelope.traceparent
    return event, view, Cause(event.actor, envelope.correlation_id, traceparent)
