"""Jobs whose tool lets an earlier result answer for the same input: found at birth, kept at the finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import JobSpec, JobState, SubmitJob
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Job
from jobyard_executor.store import cache
from jobyard_executor.store.write import Write

Answers = Mapping[str, Any]
"""Rows of `store.cache.hits` by the id of the job that they answer for."""


async def cached_answers(connection: Connection, commands: Sequence[SubmitJob], *, now: datetime) -> Answers:
    """The kept results for those of the jobs that may be answered so; costs nothing if there are none."""
    asking = {
        command.job_id: (command.tenant, command.spec.cache.key)
        for command in commands
        if command.spec.cache is not None and command.spec.cache.read
    }
    if not asking:
        return {}
    found = await cache.hits(connection, set(asking.values()), now=now)
    return {job_id: found[key] for job_id, key in asking.items() if key in found}


def store_answer(write: Write, job: Job, answer: Any) -> str:
    """The earlier result as the result of `job`, which is born with it; returns the data of its lifecycle row."""
    write.add(
        "results", job.job_id, 0, answer["value"], answer["return_code"], "", "", False, answer["files"],
        answer["run_ms"],
    )  # fmt: skip
    return msgspec.json.encode({"cached_from": answer["job_id"]}).decode()


class Kept:
    """The results of one batch of finishes that may answer later; the last one of an input counts."""

    def __init__(self) -> None:
        self._results: dict[cache.Key, tuple[str, datetime]] = {}

    def add(self, job: Job, spec: JobSpec, *, now: datetime) -> None:
        if spec.cache is not None and job.state is JobState.SUCCEEDED:
            self._results[job.tenant, spec.cache.key] = (job.job_id, now + timedelta(seconds=spec.cache.ttl_s))

    async def store(self, connection: Connection) -> None:
        if self._results:
            await cache.keep(connection, self._results)
