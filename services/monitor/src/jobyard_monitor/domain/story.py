"""A job's story, told in order from its events and those of its files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

ENDS = frozenset({"retrying", "succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True)
class JobStep:
    """One event of a job."""

    at: datetime
    incarnation: int
    event_no: int
    type: str
    state: str
    reason: str | None
    attempt: int
    actor_kind: str
    actor_id: str
    worker: str | None
    wait_ms: int | None
    run_ms: int | None
    error: str | None
    output_seq: int

    @property
    def verb(self) -> str:
        return verb_of(self.type)


@dataclass(frozen=True)
class FileStep:
    """One event of a file that the job reads or made."""

    at: datetime
    file_id: str
    event_no: int
    type: str
    state: str
    name: str
    size: int
    content_type: str
    sha256: str | None
    made_by_job: bool
    actor_kind: str
    actor_id: str


@dataclass(frozen=True)
class Attempt:
    """One run of the tool, as the events tell it."""

    attempt: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    reason: str | None
    worker: str | None
    run_ms: int | None
    error: str | None


def verb_of(event_type: str) -> str:
    """`started` of `jobyard.job.started.v1`; the whole text if it is not of that form."""
    parts = event_type.split(".")
    return parts[2] if len(parts) == 4 else event_type


def merge(jobs: Iterable[JobStep], files: Iterable[FileStep]) -> list[JobStep | FileStep]:
    """By time; the events of one job and of one file keep their own order whatever the clocks said."""
    steps: list[tuple[datetime, int, JobStep | FileStep]] = []
    floor: dict[str, datetime] = {}

    def place(key: str, step: JobStep | FileStep, rank: int) -> None:
        at = max(step.at, floor.get(key, step.at))
        floor[key] = at
        steps.append((at, rank, step))

    for file in sorted(files, key=lambda step: (step.file_id, step.event_no)):
        place(file.file_id, file, 0)
    for job in sorted(jobs, key=lambda step: (step.incarnation, step.event_no)):
        place("", job, 1)
    # The sort is stable, so equal times keep the order of insertion.
    return [step for _, _, step in sorted(steps, key=lambda row: (row[0], row[1]))]


def attempts(jobs: Sequence[JobStep]) -> list[Attempt]:
    """Attempts by number; one without an end still runs."""
    found: dict[int, Attempt] = {}
    for step in sorted(jobs, key=lambda one: (one.incarnation, one.event_no)):
        known = found.get(step.attempt)
        if step.verb == "started":
            found[step.attempt] = Attempt(step.attempt, step.at, None, None, None, step.worker, None, None)
        elif step.verb in ENDS and known is not None and known.ended_at is None:
            outcome = "failed" if step.verb == "retrying" else step.verb
            found[step.attempt] = Attempt(
                step.attempt, known.started_at, step.at, outcome, step.reason, known.worker, step.run_ms, step.error
            )
    return [found[number] for number in sorted(found)]
