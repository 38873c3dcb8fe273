"""Stories of jobs: what one batch told of a job is one row.

Plain COPY without a unique key: the offset moves in the same transaction, so what is read twice is stored once. Only
an event that was sent twice stands in two chapters, and `steps` takes each once. A row for each event cost three times
as much for a job that begins and ends within a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from jobyard_common.contracts.jobs import event_type
from jobyard_common.db.connection import Connection

from jobyard_monitor.domain.observed import Observed
from jobyard_monitor.domain.story import JobStep
from jobyard_monitor.domain.text import json_text

COLUMNS = ("tenant", "job_id", "job_created_at", "incarnation", "event_no", "steps")
CHAPTERS = """
SELECT steps FROM chapter WHERE job_id = $2 AND tenant = $1 ORDER BY incarnation, event_no LIMIT $3
"""
# Events that were read before there were chapters.
STEPS = """
SELECT at, incarnation, event_no, type, state, reason, attempt, actor_kind, actor_id, worker, wait_ms, run_ms, error,
       output_seq
FROM timeline WHERE job_id = $2 AND tenant = $1
ORDER BY incarnation, event_no LIMIT $3
"""
NULL = msgspec.Raw(b"null")


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A step inside a chapter; the view `job_step` knows its members by their places."""

    at: datetime
    incarnation: int
    event_no: int
    verb: str
    state: str
    reason: str | None
    attempt: int
    actor_kind: str
    actor_id: str
    worker: str | None
    wait_ms: int | None
    run_ms: int | None
    error: msgspec.Raw
    output_seq: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Stored]).decode


async def add(connection: Connection, stories: Iterable[Sequence[Observed]]) -> None:
    """A chapter for each; a story is what the batch told of one job, at least one event."""
    rows = [_chapter(story) for story in stories]
    await connection.copy_records_to_table("chapter", records=rows, columns=COLUMNS)


def _chapter(story: Sequence[Observed]) -> tuple[object, ...]:
    """In the order of `COLUMNS`."""
    first = story[0].event
    steps = _encode([_stored(row) for row in story]).decode()
    return first.tenant, first.job.id, first.job.created_at, first.incarnation, first.event_no, steps


def _stored(row: Observed) -> Stored:
    event, job = row.event, row.event.job
    return Stored(
        row.at,
        event.incarnation,
        event.event_no,
        row.verb,
        job.state,
        job.reason,
        job.attempt,
        event.actor.kind,
        event.actor.id,
        job.worker,
        job.wait_ms,
        job.run_ms,
        NULL if job.error is None else job.error,
        event.output_seq,
    )


async def steps(tenant: str, connection: Connection, *, job_id: str, limit: int) -> list[JobStep]:
    """The first `limit` events of a job in their order, each once."""
    found = {
        (step.incarnation, step.event_no): step
        for step in (JobStep(**dict(row)) for row in await connection.fetch(STEPS, tenant, job_id, limit))
    }
    for (chapter,) in await connection.fetch(CHAPTERS, tenant, job_id, limit):
        for stored in _decode(chapter):
            found.setdefault((stored.incarnation, stored.event_no), _step(stored))
    return [found[number] for number in sorted(found)[:limit]]


def _step(stored: Stored) -> JobStep:
    return JobStep(
        at=stored.at,
        incarnation=stored.incarnation,
        event_no=stored.event_no,
        type=event_type(stored.verb),
        state=stored.state,
        reason=stored.reason,
        attempt=stored.attempt,
        actor_kind=stored.actor_kind,
        actor_id=stored.actor_id,
        worker=stored.worker,
        wait_ms=stored.wait_ms,
        run_ms=stored.run_ms,
        error=json_text(stored.error),
        output_seq=stored.output_seq,
    )
