"""Audit entries are kept once each, by their id."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.contracts.telemetry import AUDIT_ENTRY
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused

from jobyard_monitor.domain.text import json_text, storable
from jobyard_monitor.domain.wire import ObservedAudit
from jobyard_monitor.handlers.accept import NotForUs, Unacceptable, data_of, head_of, plausible
from jobyard_monitor.store import audit

TYPES = frozenset({AUDIT_ENTRY})
MAX_TARGET = 1024


async def record_audit(connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
    rows: list[audit.Row] = []
    refused: list[Refused] = []
    for record in batch:
        try:
            head_of(record, known=TYPES)
            rows.append(_row(data_of(record, ObservedAudit)))
        except NotForUs:
            continue
        except Unacceptable as error:
            refused.append(error.refusal(record))
    if rows:
        await audit.add(connection, rows)
    return refused


def _row(entry: ObservedAudit) -> audit.Row:
    plausible(entry.at)
    return audit.Row(
        entry.id,
        entry.at,
        entry.actor.kind.value,
        storable(entry.actor.id, limit=MAX_TARGET),
        entry.action,
        storable(entry.target, limit=MAX_TARGET),
        entry.outcome,
        json_text(entry.detail) or "{}",
        entry.correlation_id,
        entry.trace_id,
        tenant=entry.tenant,
    )
