"""One job takes one step: its row, what it leaves behind, what its new state needs, and the event that tells of it."""

from __future__ import annotations

from datetime import datetime

from jobyard_common.contracts.jobs import JobSpec, JobState
from jobyard_common.contracts.wire import decode

from jobyard_executor.domain.job import ACTIVE, Job, Step, advance
from jobyard_executor.store.write import Write


def move(
    write: Write,
    job: Job,
    step: Step,
    *,
    now: datetime,
    actor: str,
    spec: JobSpec | None = None,
    outputs: tuple[str, ...] = (),
    data: str | None = None,
) -> None:
    """`job` must be locked by this transaction, and only once in this Write. `data` is JSON for its lifecycle row."""
    spec = spec or decode(JobSpec, job.spec.encode())
    before = job.state
    advance(job, step, now=now)
    if before is JobState.QUEUED:
        write.drop("unready", job.job_id)
    elif before is JobState.BLOCKED:
        write.drop("unblocked", job.job_id)
    elif before in (JobState.SCHEDULED, JobState.RETRY_WAIT):
        write.drop("unstarted", job.job_id)
    elif before in ACTIVE and job.state not in ACTIVE:
        write.drop("unleased", job.job_id)
    write.entered(job, spec=spec)
    write.changed(job)
    write.event(job, step.verb, at=now, actor=actor, spec=spec, outputs=outputs, data=data)
