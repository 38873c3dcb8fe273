"""What services say of themselves: heartbeats, log records, audit entries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from jobyard_common.contracts.jobs import Actor, empty_object
from jobyard_common.contracts.wire import OptionalRaw

HEARTBEAT = "jobyard.service.heartbeat.v1"
LOG_RECORDS = "jobyard.log.records.v1"
AUDIT_ENTRY = "jobyard.audit.recorded.v1"


class Check(msgspec.Struct, frozen=True):
    status: str
    detail: str = ""
    critical: bool = True


class Heartbeat(msgspec.Struct, frozen=True):
    """A service instance lives. `status` is `ok`, `degraded` or `down`, made from its readiness checks."""

    service: str
    instance: str
    version: str
    started_at: datetime
    at: datetime
    status: str
    checks: dict[str, Check] = msgspec.field(default_factory=dict)
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class LogRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    at: datetime
    service: str
    instance: str
    level: str
    event: str
    message: str = ""
    logger: str = ""
    trace_id: str | None = None
    span_id: str | None = None
    correlation_id: str | None = None
    job_id: str | None = None
    tenant: str | None = None
    exception: str | None = None
    fields: OptionalRaw = None


class LogRecords(msgspec.Struct, frozen=True):
    records: tuple[LogRecord, ...]


class AuditEntry(msgspec.Struct, frozen=True):
    """Somebody did something, or was refused. `detail` is JSON text of an object."""

    id: str
    at: datetime
    tenant: str
    actor: Actor
    action: str
    target: str
    outcome: str
    detail: msgspec.Raw = msgspec.field(default_factory=empty_object)
    correlation_id: str = ""
    trace_id: str = ""
