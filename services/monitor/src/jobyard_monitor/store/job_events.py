"""`job_state` keeps the newest event of each job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter

import asyncpg
from jobyard_common.db.connection import Connection

from jobyard_monitor.domain.observed import Observed
from jobyard_monitor.domain.stats import Finished

COLUMNS = (
    *("job_id", "tenant", "incarnation", "event_no", "tool", "state", "reason", "dead", "created_at", "finished_at"),
    *("wait_ms", "run_ms", "correlation_id", "trace_id", "files", "changed_at"),
)
# The newest (incarnation, event_no) wins, in whatever order events come.
PUT_STATES = """
INSERT INTO job_state AS old SELECT * FROM unnest($1::job_state[])
ON CONFLICT (job_id) DO UPDATE SET
    incarnation = excluded.incarnation, event_no = excluded.event_no, tool = excluded.tool, state = excluded.state,
    reason = excluded.reason, dead = excluded.dead, finished_at = excluded.finished_at, wait_ms = excluded.wait_ms,
    run_ms = excluded.run_ms, files = excluded.files, changed_at = excluded.changed_at
WHERE (old.incarnation, old.event_no) < (excluded.incarnation, excluded.event_no)
"""

# Rows to be written anew. An update would look for room in a full page, and write each index in turn as well.
TAKE_OLDER = """
DELETE FROM job_state AS old USING unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (job_id, incarnation, event_no)
WHERE old.job_id = new.job_id AND (old.incarnation, old.event_no) < (new.incarnation, new.event_no)
RETURNING old.job_id
"""
# Without statistics, or with those of yesterday, the planner may read the whole table for a batch.
BY_KEY = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"

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


async def put_states(connection: Connection, stories: Sequence[Sequence[Observed]]) -> None:
    """The last event of each story; `stories` hold each job once, sorted by its id.

    A job told from its first event on is most likely new, one whose older row could be taken away has no row now:
    those are added by COPY. Any others, and all where that guess was wrong, are put by asking for each row.
    """
    known = [story[-1] for story in stories if story[0].event.event_no != 1]
    taken = await _take_older(connection, known) if known else frozenset()
    add: list[tuple[object, ...]] = []
    put: list[tuple[object, ...]] = []
    for story in stories:
        fresh = story[0].event.event_no == 1 or story[0].event.job.id in taken
        (add if fresh else put).append(_state(story[-1]))
    if add and not await _added(connection, add):
        put = sorted(add + put, key=itemgetter(0))
    if put:
        await connection.execute(PUT_STATES, put)


async def _take_older(connection: Connection, rows: Sequence[Observed]) -> frozenset[str]:
    """The jobs whose rows are gone now."""
    await connection.execute(BY_KEY)
    events = [row.event for row in rows]
    found = await connection.fetch(
        TAKE_OLDER,
        [event.job.id for event in events],
        [event.incarnation for event in events],
        [event.event_no for event in events],
    )
    return frozenset([row[0] for row in found])


async def _added(connection: Connection, states: Sequence[tuple[object, ...]]) -> bool:
    """False, and nothing is added, if one of the jobs is there already."""
    try:
        async with connection.transaction():
            await connection.copy_records_to_table("job_state", records=states, columns=COLUMNS)
    except asyncpg.UniqueViolationError:
        return False
    return True


def _state(row: Observed) -> tuple[object, ...]:
    """In the order of the table's columns, which is that of `COLUMNS`."""
    event, job = row.event, row.event.job
    return (
        job.id,
        event.tenant,
        event.incarnation,
        event.event_no,
        job.tool,
        job.state,
        job.reason,
        job.dead,
        job.created_at,
        job.finished_at,
        job.wait_ms,
        job.run_ms,
        job.correlation_id,
        job.trace_id,
        " ".join(job.files.values()) if job.files else "",
        row.at,
    )


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
