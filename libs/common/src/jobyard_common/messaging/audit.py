"""Who did what, as records for the topic `audit`; put into the outbox of the transaction that did it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Actor
from jobyard_common.contracts.telemetry import AUDIT_ENTRY, AuditEntry
from jobyard_common.contracts.topics import AUDIT
from jobyard_common.contracts.wire import encode
from jobyard_common.messaging.publisher import OutRecord


def audit_record(
    *,
    source: str,
    tenant: str,
    actor: Actor,
    action: str,
    target: str,
    outcome: str,
    at: datetime,
    detail: Mapping[str, object],
    correlation_id: str,
    traceparent: str,
) -> OutRecord:
    """An entry for the topic `audit`; `action` is `<resource>.<verb>`, `target` the id of what was changed."""
    entry = AuditEntry(
        id=new_id("aud"),
        at=at,
        tenant=tenant,
        actor=actor,
        action=action,
        target=target,
        outcome=outcome,
        detail=msgspec.Raw(msgspec.json.encode(detail)),
        correlation_id=correlation_id,
        trace_id=traceparent[3:35],
    )
    envelope = new_envelope(
        AUDIT_ENTRY, source=source, subject=target, correlation_id=correlation_id, traceparent=traceparent, time=at
    )
    return OutRecord(AUDIT.name, tenant, encode(entry), headers_of(envelope))
