"""Typed views of the API's documents. Fields that a newer server adds are kept in `document` where there is one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from jobyard.errors import UnexpectedAnswer

S = TypeVar("S", bound=msgspec.Struct)


class JobState(StrEnum):
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    RETRY_WAIT = "retry_wait"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class Progress(msgspec.Struct, frozen=True):
    done: float | None = None
    total: float | None = None
    note: str | None = None
    at: datetime | None = None


class JobError(msgspec.Struct, frozen=True):
    code: str
    message: str | None = None
    type: str | None = None
    detail: Any = None
    retryable: bool | None = None
    attempt: int | None = None


class JobData(msgspec.Struct, frozen=True):
    """A job as of `version`. `state` is text, so that a state of a newer server is no error."""

    id: str
    tool: str
    state: str
    version: int = 0
    tool_version: str | None = None
    reason: str | None = None
    dead: bool = False
    queue: str | None = None
    priority: int | None = None
    parameters: dict[str, Any] = {}
    files: dict[str, Any] | list[Any] = {}
    attempt: int = 0
    max_attempts: int | None = None
    progress: Progress | None = None
    error: JobError | None = None
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    created_at: datetime | None = None
    run_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wait_ms: float | None = None
    run_ms: float | None = None
    worker: str | None = None
    correlation_id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    origin_id: str | None = None
    workflow_id: str | None = None
    schedule_id: str | None = None
    links: dict[str, Any] = {}


class OutputFile(msgspec.Struct, frozen=True):
    """A file that a job wrote; download it by `client.files.download(file.file_id, path)`."""

    file_id: str
    name: str
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    url: str | None = None


class JobResult(msgspec.Struct, frozen=True):
    """What a finished job left. `value` is byte-true JSON: integers exact, member order kept."""

    job_id: str
    state: str
    attempt: int = 0
    value: Any = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    truncated: Any = False
    files: list[OutputFile] = []
    error: JobError | None = None
    run_ms: float | None = None
    duplicate_of: str | None = None
    cached_from: str | None = None


class LogLine(msgspec.Struct, frozen=True):
    message: str = ""
    stream: str = "stdout"
    seq: Any = None
    at: datetime | None = None
    attempt: int | None = None
    level: str | None = None
    fields: dict[str, Any] | None = None


class Event(msgspec.Struct, frozen=True):
    """One event of a stream: `job.state`, `job.progress`, `job.log`, `job.result` or `stream.end`."""

    id: str
    name: str
    data: Any


class File(msgspec.Struct, frozen=True):
    """A stored file. `sha256` (hex) is None until the server has read the whole content."""

    id: str
    name: str | None = None
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    state: str | None = None
    created_at: datetime | None = None


class Tool(msgspec.Struct, frozen=True):
    name: str
    version: str | None = None
    title: str | None = None
    description: str | None = None
    parameters_schema: dict[str, Any] | bool = {}
    queue: str | None = None
    isolation: str | None = None
    workers: Any = None
    document: dict[str, Any] = {}


def convert(document: object, kind: type[S]) -> S:
    """Raises UnexpectedAnswer where the document is not of this shape."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise UnexpectedAnswer(f"the server sent a {kind.__name__} that makes no sense: {error}") from None
