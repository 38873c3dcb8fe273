"""What happened to one job: its events, its attempts, its files."""

from __future__ import annotations

from dataclasses import dataclass

from jobyard_common.db.connection import Pool

from jobyard_monitor.domain.story import Attempt, FileStep, JobStep, attempts, merge
from jobyard_monitor.store import chapters, files, job_events
from jobyard_monitor.store.reading import reading

MAX_STEPS = 2_000
"""Of each kind; a job with more has retried for days, and its beginning tells the story."""


@dataclass(frozen=True)
class Timeline:
    steps: list[JobStep | FileStep]
    attempts: list[Attempt]
    truncated: bool


async def read_timeline(tenant: str, pool: Pool, *, job_id: str) -> Timeline:
    async with reading(pool) as connection:
        jobs = await chapters.steps(tenant, connection, job_id=job_id, limit=MAX_STEPS)
        inputs = await job_events.files_read(tenant, connection, job_id=job_id)
        of_files = await files.steps_of_job(tenant, connection, job_id=job_id, inputs=inputs, limit=MAX_STEPS)
    return Timeline(merge(jobs, of_files), attempts(jobs), MAX_STEPS in (len(jobs), len(of_files)))
