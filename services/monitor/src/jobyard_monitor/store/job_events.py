"""Events of jobs: the timeline keeps each once, `job_state` keeps the newest of each job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec
from jobyard_common.db.connection import Connection

from jobyard_monitor.domain.stats import Finished
from jobyard_monitor.domain.story import JobStep
from jobyard_monitor.domain.text import json_text
from jobyard_monitor.domain.wire import ObservedJob

STEP_COLUMNS = (
    *("tenant", "job_id", "incarnation", "event_no", "job_created_at", "at", "type", "state", "reason", "attempt"),
    *("actor_kind", "actor_id", "worker", "wait_ms", "run_ms", "error", "output_seq"),
)
# An event that was published twice, or read twice, is the same row.
ADD_STEPS = "INSERT INTO timeline SELECT * FROM unnest($1::timeline[]) ON CONFLICT DO NOTHING"

# The newest (incarnation, event_no) wins, in whatever order events come.
PUT_STATES = """
INSERT INTO job_state AS old SELECT * FROM unnest($1::job_state[])
ON CONFLICT (job_id) DO UPDATE SET
    incarnation = excluded.incarnation, event_no = excluded.event_no, tool = excluded.tool, state = excluded.state,
    reason = excluded.reason, dead = excluded.dead, finished_at = excluded.finished_at, wait_ms = excluded.wait_ms,
    run_ms = excluded.run_ms, files = excluded.files, changed_at = excluded.changed_at
WHERE (old.incarnation, old.event_no) < (excluded.incarnation, excluded.event_no)
"""

STEPS = """
SELECT at, incarnation, event_no, type, state, reason, attempt, actor_kind, actor_id, worker, wait_ms, run_ms, error,
       output_seq
FROM timeline WHERE job_id = $2 AND tenant = $1
ORDER BY incarnation, event_no LIMIT $3
"""

FILES_READ = "SELECT files FROM job_state WHERE job_id = $2 AND tenant = $1"

LIVE_COUNTS = """
SELECT tool, state, count(*) AS jobs FROM job_state WHERE tenant = $1 AND finished_at IS NULL GROUP BY tool, state
"""

# Durations of the last attempt, as the job shows them.
FINISHED_COUNTS = """
SELECT tool, state, count(*) AS jobs,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY run_ms) AS run_ms,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY wait_ms) AS wait_ms
FROM job_state WHERE tenant = $1 AND finished_at >= $2 GROUP BY GROUPING SETS ((tool, state), ())
"""

PRUNE_STATES = """
DELETE FROM job_state WHERE job_id = ANY(ARRAY(SELECT job_id FROM job_state WHERE finished_at < $1 LIMIT $2))
"""


class Observed(msgspec.Struct, frozen=True):
    """An event with what its envelope adds."""

    at: datetime
    type: str
    event: ObservedJob


async def add_steps(connection: Connection, rows: Sequence[Observed]) -> None:
    """Add each event once. COPY costs half, so it goes first; the insert is for batches with an event already there."""
    steps_in = [_step(row) for row in rows]
    try:
        async with connection.transaction():
            await connection.copy_records_to_table("timeline", records=steps_in, columns=STEP_COLUMNS)
    except asyncpg.UniqueViolationError:
        await connection.execute(ADD_STEPS, steps_in)


def _step(row: Observed) -> tuple[object, ...]:
    """In the order of the table's columns."""
    event, job = row.event, row.event.job
    return (
        event.tenant,
        job.id,
        event.incarnation,
        event.event_no,
        job.created_at,
        row.at,
        row.type,
        job.state.value,
        job.reason,
        job.attempt,
        event.actor.kind.value,
        event.actor.id,
        job.worker,
        job.wait_ms,
        job.run_ms,
        json_text(job.error),
        event.output_seq,
    )


async def put_states(connection: Connection, rows: Sequence[Observed]) -> None:
    """`rows` hold each job once, sorted by its id."""
    await connection.execute(PUT_STATES, [_state(row) for row in rows])


def _state(row: Observed) -> tuple[object, ...]:
    """In the order of the table's columns."""
    event, job = row.event, row.event.job
    return (
        job.id,
        event.tenant,
        event.incarnation,
        event.event_no,
        job.tool,
        job.state.value,
        job.reason,
        job.dead,
        job.created_at,
        job.finished_at,
        job.wait_ms,
        job.run_ms,
        job.correlation_id,
        job.trace_id,
        " ".join(job.files.values()),
        row.at,
    )


async def steps(tenant: str, connection: Connection, *, job_id: str, limit: int) -> list[JobStep]:
    return [JobStep(**dict(row)) for row in await connection.fetch(STEPS, tenant, job_id, limit)]


async def files_read(tenant: str, connection: Connection, *, job_id: str) -> list[str]:
    """Ids of the job's input files."""
    found: str | None = await connection.fetchval(FILES_READ, tenant, job_id)
    return found.split() if found else []


async def live_counts(tenant: str, connection: Connection) -> list[tuple[str, str, int]]:
    """Unfinished jobs as (tool, state, jobs)."""
    return [(row["tool"], row["state"], row["jobs"]) for row in await connection.fetch(LIVE_COUNTS, tenant)]


async def finished_counts(tenant: str, connection: Connection, *, since: datetime) -> list[Finished]:
    rows = await connection.fetch(FINISHED_COUNTS, tenant, since)
    return [
        Finished(row["tool"], row["state"], row["jobs"], _pair(row["run_ms"]), _pair(row["wait_ms"])) for row in rows
    ]


async def prune_states(connection: Connection, *, before: datetime, batch: int) -> int:
    status: str = await connection.execute(PRUNE_STATES, before, batch)
    return int(status.rpartition(" ")[2])


def _pair(values: list[float | None] | None) -> tuple[float | None, float | None]:
    return (values[0], values[1]) if values else (None, None)
