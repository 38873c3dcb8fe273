"""What the world is told, in the transaction that made it true."""

from __future__ import annotations

from jobyard_common.contracts import wire
from jobyard_common.contracts.envelope import encode, new_envelope
from jobyard_common.contracts.files import FileEvent, event_type
from jobyard_common.contracts.topics import FILES_EVENTS
from jobyard_common.db.connection import Connection
from jobyard_common.messaging import outbox
from jobyard_common.messaging.audit import audit_record
from jobyard_common.messaging.publisher import OutRecord

from jobyard_files.domain.cause import Cause
from jobyard_files.domain.file import File

SOURCE = "/jobyard/files"


async def tell(db: Connection, verb: str, changes: list[tuple[File, Cause]]) -> None:
    """Record `jobyard.file.<verb>.v1` for each file as it now is."""
    await outbox.put(db, [_event(verb, file, cause) for file, cause in changes])


def _event(verb: str, file: File, cause: Cause) -> OutRecord:
    envelope = new_envelope(
        event_type(verb),
        source=SOURCE,
        subject=file.id,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
    )
    event = FileEvent(file=file.meta(), actor=cause.actor, event_no=file.event_no)
    return OutRecord(FILES_EVENTS.name, file.id, wire.encode(event), encode(envelope))


async def audit(db: Connection, action: str, file: File, cause: Cause) -> None:
    """Record that somebody did something that cannot be undone."""
    record = audit_record(
        source=SOURCE,
        tenant=file.tenant,
        actor=cause.actor,
        action=action,
        target=file.id,
        outcome="done",
        at=wire.utc_now(),
        detail={"name": file.name, "size": file.size, "sha256": file.sha256},
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
    )
    await outbox.put(db, [record])
