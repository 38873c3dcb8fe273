"""Who changed what of the resources that the executor owns, as records for the outbox of the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from jobyard_common.contracts.jobs import Actor
from jobyard_common.messaging.audit import audit_record
from jobyard_common.messaging.publisher import OutRecord
from jobyard_common.telemetry.context import current_correlation, current_trace, new_trace

SOURCE = "/jobyard/executor"


def record(
    *,
    tenant: str,
    actor: Actor,
    action: str,
    target: str,
    at: datetime,
    detail: Mapping[str, object] | None = None,
    outcome: str = "done",
) -> OutRecord:
    """An entry under the current request's correlation and trace; `action` is `<resource>.<verb>`."""
    trace = current_trace.get() or new_trace(sampled=False)
    return audit_record(
        source=SOURCE,
        tenant=tenant,
        actor=actor,
        action=action,
        target=target,
        outcome=outcome,
        at=at,
        detail=detail or {},
        correlation_id=current_correlation.get() or trace.span_id,
        traceparent=trace.format(),
    )
