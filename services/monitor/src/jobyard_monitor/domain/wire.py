"""The messages monitor reads, with the bounds that its tables have.

They are stricter than the shared contracts: what passes here can be stored. A record that does not pass is refused
with the place that is wrong.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from jobyard_common.contracts.jobs import Actor, JobState, empty_object
from jobyard_common.contracts.output import Stream
from jobyard_common.contracts.wire import OptionalRaw
from msgspec import Meta

Name = Annotated[str, Meta(max_length=256)]
# A pattern would cost as much as the rest of the message.
JobId = Annotated[str, Meta(min_length=32, max_length=32)]
Moment = Annotated[datetime, Meta(tz=True)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class JobView(msgspec.Struct, frozen=True, gc=False):
    """The members of a job's snapshot that the read models hold."""

    id: JobId
    tool: Name
    state: JobState
    reason: Name | None
    dead: bool
    attempt: Count32
    correlation_id: Name
    trace_id: Name
    created_at: Moment
    finished_at: Moment | None
    wait_ms: Int64 | None
    run_ms: Int64 | None
    worker: Name | None
    files: dict[str, Name] = msgspec.field(default_factory=dict)
    error: OptionalRaw = None


class ObservedJob(msgspec.Struct, frozen=True, gc=False):
    """An event of `jobs.events`."""

    job: JobView
    tenant: Name
    incarnation: Count
    event_no: Count
    output_seq: Count
    actor: Actor


class ObservedLine(msgspec.Struct, frozen=True):
    seq: Count
    at: Moment
    stream: Stream
    message: str = ""
    level: Name | None = None
    fields: OptionalRaw = None
    late: bool = False


class ObservedPack(msgspec.Struct, frozen=True):
    """A record of `jobs.output`."""

    job_id: JobId
    tenant: Name
    attempt: Count32
    lines: list[ObservedLine]


class FileView(msgspec.Struct, frozen=True):
    id: Name
    tenant: Name
    name: Annotated[str, Meta(max_length=4096)]
    size: Count
    content_type: Name
    sha256: Name | None
    state: Name
    job_id: Name | None = None


class ObservedFile(msgspec.Struct, frozen=True):
    """An event of `files.events`."""

    file: FileView
    actor: Actor
    event_no: Count


class ObservedRecord(msgspec.Struct, frozen=True):
    at: Moment
    service: Name
    instance: Name
    level: Name
    event: str
    message: str = ""
    logger: Name = ""
    trace_id: Name | None = None
    span_id: Name | None = None
    correlation_id: Name | None = None
    job_id: Name | None = None
    tenant: Name | None = None
    exception: str | None = None
    fields: OptionalRaw = None


class ObservedRecords(msgspec.Struct, frozen=True):
    """A record of `logs` with lines of services."""

    records: list[ObservedRecord]


class ObservedCheck(msgspec.Struct, frozen=True):
    status: Name
    detail: str = ""
    critical: bool = True


class ObservedBeat(msgspec.Struct, frozen=True):
    """A heartbeat."""

    service: Name
    instance: Name
    version: Name
    started_at: Moment
    at: Moment
    status: Name
    checks: dict[str, ObservedCheck] = msgspec.field(default_factory=dict)
    facts: msgspec.Raw = msgspec.field(default_factory=empty_object)


class ObservedAudit(msgspec.Struct, frozen=True):
    """An entry of `audit`."""

    id: Name
    at: Moment
    tenant: Name
    actor: Actor
    action: Name
    target: str
    outcome: Name
    detail: msgspec.Raw = msgspec.field(default_factory=empty_object)
    correlation_id: Name = ""
    trace_id: Name = ""
