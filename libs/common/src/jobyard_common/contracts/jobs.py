"""Jobs on the wire: the commands that make and move them, the events that tell of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from jobyard_common.contracts.wire import OptionalRaw

EMPTY_OBJECT = msgspec.Raw(b"{}")
PARAMETERS_SLOT = "$parameters"
"""The slot of a file that holds the parameters as JSON, where they are too large for a submit."""
MAX_FILED_PARAMETERS_BYTES = 16 * 2**20


def empty_object() -> msgspec.Raw:
    """The default of a member that holds a client's own JSON object."""
    return EMPTY_OBJECT


class JobState(StrEnum):
    """Where a job is in its life; the transitions are in the executor's `domain/job.py` and `docs/job-states.md`."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    RETRY_WAIT = "retry_wait"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class Reason(StrEnum):
    """Why a job is in the state it is in."""

    ERROR = "error"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    OOM = "oom"
    INTERRUPTED = "interrupted"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    REJECTED = "rejected"
    DEPENDENCY_FAILED = "dependency_failed"
    TTL = "ttl"
    DEADLINE = "deadline"
    USER = "user"
    SUPERSEDED = "superseded"


class ActorKind(StrEnum):
    KEY = "key"
    USER = "user"
    WORKER = "worker"
    SYSTEM = "system"
    SCHEDULE = "schedule"
    PRODUCER = "producer"


class Actor(msgspec.Struct, frozen=True):
    """Who caused something."""

    kind: ActorKind
    id: str


class Backoff(StrEnum):
    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Retry(msgspec.Struct, frozen=True):
    """How often and after which pauses (seconds) a failed attempt is repeated."""

    max_attempts: int = 3
    backoff: Backoff = Backoff.EXPONENTIAL
    base_s: float = 1.0
    cap_s: float = 300.0
    jitter: float = 0.2
    budget_s: float | None = None
    non_retryable: tuple[str, ...] = ()


class DedupeMode(StrEnum):
    WHILE_ACTIVE = "while_active"
    TTL = "ttl"
    DEBOUNCE = "debounce"


class Dedupe(msgspec.Struct, frozen=True):
    key: str
    mode: DedupeMode = DedupeMode.WHILE_ACTIVE
    ttl_s: float | None = None


class Cache(msgspec.Struct, frozen=True):
    """Where the result of a job is kept for others with the same input, and for how many seconds.

    `key` is the hex SHA-256 of tool, version, canonical parameters and the hashes of the files; without `read` the job
    runs whatever is kept, and its result replaces that.
    """

    key: str
    ttl_s: float
    read: bool = True


class JobSpec(msgspec.Struct, frozen=True):
    """What is to run and how: a validated submit with its defaults filled in and its tool pinned to a version.

    `parameters` and `metadata` are the JSON texts that the client sent, byte-true. Durations are seconds.
    """

    tool: str
    tool_version: str
    isolation: str
    min_isolation: str
    timeout_s: float
    parameters: msgspec.Raw = msgspec.field(default_factory=empty_object)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    queue: str = "default"
    priority: int = 5
    run_at: datetime | None = None
    ttl_s: float | None = None
    deadline_at: datetime | None = None
    soft_timeout_s: float | None = None
    retry: Retry = Retry()
    fairness_key: str | None = None
    concurrency_key: str | None = None
    dedupe: Dedupe | None = None
    depends_on: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: msgspec.Raw = msgspec.field(default_factory=empty_object)
    callback_url: str | None = None
    cache: Cache | None = None


SUBMIT = "jobyard.job.submit.v1"
CANCEL = "jobyard.job.cancel.v1"
RETRY = "jobyard.job.retry.v1"
REPLAY = "jobyard.job.replay.v1"
RESCHEDULE = "jobyard.job.reschedule.v1"


class SubmitJob(msgspec.Struct, frozen=True):
    """Make the job `job_id`. `body_hash` is the hex SHA-256 of the canonical submit (RFC 8785), for keyed ids."""

    command_id: str
    job_id: str
    tenant: str
    actor: Actor
    accepted_at: datetime
    spec: JobSpec
    keyed: bool = False
    body_hash: str = ""
    origin_id: str | None = None
    parent_id: str | None = None
    schedule_id: str | None = None


class CancelJob(msgspec.Struct, frozen=True):
    command_id: str
    job_id: str
    tenant: str
    actor: Actor


class RetryJob(msgspec.Struct, frozen=True):
    """End the pause of a job in `retry_wait`, or run a finished one again as `new_job_id`."""

    command_id: str
    job_id: str
    tenant: str
    actor: Actor
    new_job_id: str


class ReplayJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """Run a finished job again as `new_job_id`, with other parameters if they are given."""

    command_id: str
    job_id: str
    tenant: str
    actor: Actor
    new_job_id: str
    parameters: OptionalRaw = None


class RescheduleJob(msgspec.Struct, frozen=True):
    command_id: str
    job_id: str
    tenant: str
    actor: Actor
    run_at: datetime


class Progress(msgspec.Struct, frozen=True):
    done: float | int
    total: float | int | None
    note: str | None
    at: datetime


class JobError(msgspec.Struct, frozen=True):
    code: str
    message: str
    type: str | None
    detail: str | None
    retryable: bool
    attempt: int


class JobEvent(msgspec.Struct, frozen=True):
    """One change of a job. `job` is the snapshot after it, in the shape of the API without links, kept byte-true.

    `event_no` grows by one within an `incarnation`; `output_seq` is the last output before the event; `outputs` are
    the files that a finish released.
    """

    job: msgspec.Raw
    tenant: str
    incarnation: int
    event_no: int
    output_seq: int
    actor: Actor
    outputs: tuple[str, ...] = ()


class JobHead(msgspec.Struct, frozen=True):
    """The members of a snapshot that projections look at; the rest stays in the raw text."""

    id: str
    tool: str
    tool_version: str
    state: JobState
    reason: str | None
    dead: bool
    version: int
    queue: str
    priority: int
    attempt: int
    correlation_id: str
    trace_id: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    wait_ms: int | None
    run_ms: int | None
    worker: str | None


def event_type(verb: str) -> str:
    """The `ce_type` of a job event, e.g. `jobyard.job.started.v1`."""
    return f"jobyard.job.{verb}.v1"


EVENT_VERBS = (
    "accepted",
    "queued",
    "blocked",
    "scheduled",
    "started",
    "retrying",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
)
