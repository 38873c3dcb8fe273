"""A job's life: every state, and what moves it from one to the next.

`next_state` is the only place where a state is decided. Finishing, the reaper, hand-backs, timers and people all ask
it with a `Cause`; handlers store what it answers. A terminal state never changes, and once a job is `cancelling`
every end is `cancelled`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from jobyard_common.contracts.jobs import TERMINAL, JobState, Reason

S = JobState
MAX_LOST = 3
MAX_INTERRUPTED = 20


class Cause(StrEnum):
    """What happened to a job."""

    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    ERROR = "error"
    TIMEOUT = "timeout"
    OOM = "oom"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    INTERRUPTED = "interrupted"
    WORKER_LOST = "worker_lost"
    CANCEL_ASKED = "cancel_asked"
    START_DUE = "start_due"
    RETRY_ASKED = "retry_asked"
    TTL_PASSED = "ttl_passed"
    DEADLINE_PASSED = "deadline_passed"
    PARENTS_DONE = "parents_done"
    PARENTS_DONE_EARLY = "parents_done_early"
    PARENT_FAILED = "parent_failed"
    SUPERSEDED = "superseded"
    TOOL_RETIRED = "tool_retired"


class Job(msgspec.Struct):
    """A row of `job`, in the order of `store.jobs.COLUMNS`. Times are UTC.

    `event_no` is the number of events published; `failures` counts what burns `max_attempts`; `pending` the parents
    that are not done; `traceparent` is the context of the ingest, `run_trace` that of the last attempt. `twin_id` is
    the job that answers for this one: it took its place, or gave it its result.
    """

    job_id: str
    tenant: str
    state: JobState
    reason: str | None
    dead: bool
    event_no: int
    born_ms: int
    attempt: int
    failures: int
    lost: int
    interrupted: int
    fence: int
    session: str | None
    worker: str | None
    created_at: datetime
    run_at: datetime | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    output_seq: int
    pending: int
    timers: bool
    correlation_id: str
    traceparent: str
    run_trace: str | None
    origin_id: str | None
    parent_id: str | None
    actor: str
    spec: str
    error: str | None
    progress: str | None
    schedule_id: str | None = None
    twin_id: str | None = None
    place: str | None = None


class Step(msgspec.Struct, frozen=True):
    """Where a job goes next, and why. `verb` names the event, `pause` is the wait of `retry_wait`."""

    state: JobState
    verb: str
    reason: Reason | None = None
    dead: bool = False
    burns: str | None = None
    pause: timedelta | None = None


class Refusal(StrEnum):
    """Why a cause does not apply to a job as it is."""

    FINISHED = "job_finished"
    NOT_FINISHED = "job_not_finished"
    NOT_WAITING = "not_waiting"


WAITING = frozenset({S.SCHEDULED, S.BLOCKED, S.QUEUED, S.RETRY_WAIT})
ACTIVE = frozenset({S.RUNNING, S.CANCELLING})
_NOT_STARTED = frozenset({S.SCHEDULED, S.BLOCKED, S.QUEUED})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    S.ACCEPTED: frozenset({S.SCHEDULED, S.BLOCKED, S.QUEUED, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.EXPIRED}),
    S.SCHEDULED: frozenset({S.QUEUED, S.SCHEDULED, S.CANCELLED, S.EXPIRED}),
    S.BLOCKED: frozenset({S.QUEUED, S.SCHEDULED, S.FAILED, S.CANCELLED, S.EXPIRED}),
    S.QUEUED: frozenset({S.RUNNING, S.FAILED, S.CANCELLED, S.EXPIRED}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.RETRY_WAIT, S.QUEUED, S.CANCELLING, S.EXPIRED}),
    S.CANCELLING: frozenset({S.CANCELLED}),
    S.RETRY_WAIT: frozenset({S.QUEUED, S.CANCELLED, S.EXPIRED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
    S.EXPIRED: frozenset(),
}

_FAILURES = {
    Cause.ERROR: Reason.ERROR,
    Cause.TIMEOUT: Reason.TIMEOUT,
    Cause.OOM: Reason.OOM,
    Cause.RESOURCE_EXHAUSTED: Reason.RESOURCE_EXHAUSTED,
}
_WHILE_ACTIVE = frozenset({Cause.SUCCEEDED, Cause.INTERRUPTED, Cause.WORKER_LOST, *_FAILURES})


def next_state(
    job: Job, cause: Cause, *, pause: timedelta | None = None, past_deadline: bool = False
) -> Step | Refusal:
    """What becomes of `job` now that `cause` happened.

    `pause` is the wait before the next attempt if a failure may be repeated, None if it may not; `past_deadline`
    says that the job's deadline has passed.
    """
    if job.state in TERMINAL:
        return Refusal.FINISHED
    if cause in _WHILE_ACTIVE:
        return _attempt_ended(job, cause, pause=pause, past_deadline=past_deadline)
    if cause is Cause.CANCEL_ASKED:
        return _cancelled(job)
    if cause is Cause.DEADLINE_PASSED:
        if job.state is S.CANCELLING:
            return Refusal.NOT_WAITING
        return Step(S.EXPIRED, "expired", Reason.DEADLINE)
    return _waiting(job, cause)


def _attempt_ended(job: Job, cause: Cause, *, pause: timedelta | None, past_deadline: bool) -> Step | Refusal:
    if job.state is S.CANCELLING:
        return Step(S.CANCELLED, "cancelled", Reason.USER)
    if job.state is not S.RUNNING:
        return Refusal.NOT_WAITING
    if cause is Cause.SUCCEEDED:
        return Step(S.SUCCEEDED, "succeeded")
    if past_deadline:
        return Step(S.EXPIRED, "expired", Reason.DEADLINE)
    if cause is Cause.WORKER_LOST:
        if job.lost + 1 >= MAX_LOST:
            return Step(S.FAILED, "failed", Reason.WORKER_LOST, dead=True, burns="lost")
        return Step(S.QUEUED, "retrying", Reason.WORKER_LOST, burns="lost")
    if cause is Cause.INTERRUPTED:
        if job.interrupted + 1 > MAX_INTERRUPTED:
            return Step(S.FAILED, "failed", Reason.INTERRUPTED, dead=True, burns="interrupted")
        return Step(S.QUEUED, "retrying", Reason.INTERRUPTED, burns="interrupted")
    reason = _FAILURES[cause]
    if pause is None:
        return Step(S.FAILED, "failed", reason, dead=True, burns="failures")
    return Step(S.RETRY_WAIT, "retrying", reason, burns="failures", pause=pause)


def _cancelled(job: Job) -> Step | Refusal:
    if job.state is S.CANCELLING:
        return Refusal.NOT_WAITING
    if job.state is S.RUNNING:
        return Step(S.CANCELLING, "cancelling", Reason.USER)
    return Step(S.CANCELLED, "cancelled", Reason.USER)


def _waiting(job: Job, cause: Cause) -> Step | Refusal:
    queued = Step(S.QUEUED, "queued")
    if cause is Cause.CLAIMED and job.state is S.QUEUED:
        return Step(S.RUNNING, "started")
    if cause is Cause.START_DUE and job.state in (S.SCHEDULED, S.RETRY_WAIT):
        return queued
    if cause is Cause.RETRY_ASKED:
        return queued if job.state is S.RETRY_WAIT else Refusal.NOT_FINISHED
    if cause is Cause.TTL_PASSED and job.state is S.QUEUED and job.attempt == 0:
        return Step(S.EXPIRED, "expired", Reason.TTL)
    if cause is Cause.PARENTS_DONE and job.state is S.BLOCKED:
        return queued
    if cause is Cause.PARENTS_DONE_EARLY and job.state is S.BLOCKED:
        return Step(S.SCHEDULED, "scheduled")
    if cause is Cause.PARENT_FAILED and job.state is S.BLOCKED:
        return Step(S.FAILED, "failed", Reason.DEPENDENCY_FAILED)
    if cause is Cause.SUPERSEDED and job.state in _NOT_STARTED and job.attempt == 0:
        return Step(S.CANCELLED, "cancelled", Reason.SUPERSEDED)
    if cause is Cause.TOOL_RETIRED and job.state is S.QUEUED:
        return Step(S.FAILED, "failed", Reason.REJECTED)
    return Refusal.NOT_WAITING


def advance(job: Job, step: Step, *, now: datetime) -> None:
    """Change `job` as `step` says; storing and publishing it is the caller's part."""
    job.state = step.state
    job.reason = step.reason
    job.dead = step.dead
    job.event_no += 1
    if step.burns == "failures":
        job.failures += 1
    elif step.burns == "lost":
        job.lost += 1
    elif step.burns == "interrupted":
        job.interrupted += 1
    if step.state is S.QUEUED:
        job.queued_at = now
    elif step.state is S.RETRY_WAIT:
        job.run_at = now + (step.pause or timedelta())
    if step.state in TERMINAL:
        job.finished_at = now
    if step.state not in ACTIVE:
        job.session = None
