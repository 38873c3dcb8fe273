"""A job as the API shows it, without links: the body of reads and of every event."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

import msgspec
from jobyard_common.contracts.jobs import JobSpec, JobState
from jobyard_common.contracts.wire import decode

from jobyard_executor.domain.epoch import incarnation_of
from jobyard_executor.domain.job import Job

NULL = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


class Snapshot(msgspec.Struct):
    id: str
    tool: str
    tool_version: str
    state: str
    reason: str | None
    dead: bool
    version: int
    queue: str
    priority: int
    parameters: msgspec.Raw
    files: dict[str, str]
    attempt: int
    max_attempts: int
    progress: msgspec.Raw
    error: msgspec.Raw
    tags: tuple[str, ...]
    metadata: msgspec.Raw
    created_at: str
    run_at: str | None
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    wait_ms: int | None
    run_ms: int | None
    worker: str | None
    correlation_id: str
    trace_id: str
    parent_id: str | None
    origin_id: str | None
    workflow_id: str | None = None
    schedule_id: str | None = None
    duplicate_of: str | msgspec.UnsetType = msgspec.UNSET
    cached_from: str | msgspec.UnsetType = msgspec.UNSET


@lru_cache(maxsize=4096)
def moment(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds; `value` is UTC. A job's times are shown in each of its events."""
    return value.isoformat(timespec="milliseconds")[:23] + "Z"


def _moment(value: datetime | None) -> str | None:
    return None if value is None else moment(value)


def millis_between(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return max(0, round((end - start).total_seconds() * 1000))


def snapshot(job: Job, *, spec: JobSpec | None = None, progress: str | None = None) -> bytes:
    """The job as JSON text. `spec` saves decoding it again; `progress` is a newer one than the row's."""
    spec = spec or decode(JobSpec, job.spec.encode())
    shown = progress or job.progress
    twin = job.twin_id or msgspec.UNSET
    return _encode(
        Snapshot(
            job.job_id,
            spec.tool,
            spec.tool_version,
            job.state.value,
            job.reason,
            job.dead,
            job.event_no,
            spec.queue,
            spec.priority,
            spec.parameters,
            spec.files,
            job.attempt,
            spec.retry.max_attempts,
            msgspec.Raw(shown.encode()) if shown else NULL,
            msgspec.Raw(job.error.encode()) if job.error else NULL,
            spec.tags,
            spec.metadata,
            moment(job.created_at),
            _moment(job.run_at),
            _moment(job.queued_at),
            _moment(job.started_at),
            _moment(job.finished_at),
            millis_between(job.queued_at, job.started_at),
            millis_between(job.started_at, job.finished_at),
            job.worker,
            job.correlation_id,
            job.traceparent[3:35],
            job.parent_id,
            job.origin_id,
            workflow_id=job.place.partition(":")[0] if job.place else None,
            schedule_id=job.schedule_id,
            duplicate_of=twin if job.state is not JobState.SUCCEEDED else msgspec.UNSET,
            cached_from=twin if job.state is JobState.SUCCEEDED else msgspec.UNSET,
        )
    )


def twin_name(job: Job) -> str:
    """What the job that answers for this one is called in its documents."""
    return "cached_from" if job.state is JobState.SUCCEEDED else "duplicate_of"


def incarnation(job: Job, *, epoch: int) -> int:
    """Grows with every new epoch of the database and with every new life of an id; fits a double exactly."""
    return incarnation_of(epoch, job.born_ms)
