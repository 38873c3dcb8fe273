"""Runs of workflows: the row that every change of a run locks first, its steps, and the items of fan-outs.

Whoever holds the row of a run is alone with it: steps and items are changed under that lock only, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.workflow import RunState, StepRow, StepState


class Run(msgspec.Struct):
    """A row of `workflow_run` without its texts, in the order of `COLUMNS`."""

    run_id: str
    tenant: str
    workflow_id: str | None
    name: str
    version: int | None
    state: RunState
    error: str | None
    actor: str
    correlation_id: str
    traceparent: str
    origin_id: str | None
    again: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    steps: int
    steps_open: int
    jobs: int
    jobs_open: int
    failures: int


COLUMNS = Run.__struct_fields__
_LIST = ", ".join(COLUMNS)
_STEP = ", ".join(StepRow.__struct_fields__)
INSERT = f"""
INSERT INTO workflow_run ({_LIST}, graph, input)
VALUES ({", ".join(f"${n + 1}" for n in range(len(COLUMNS) + 2))}) ON CONFLICT DO NOTHING RETURNING run_id
"""
LOCK = f"SELECT {_LIST} FROM workflow_run WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR UPDATE"
TEXTS = "SELECT graph, input FROM workflow_run WHERE run_id = $1"
SAVE = """
UPDATE workflow_run SET state = $2, error = $3, started_at = $4, finished_at = $5, steps = $6, steps_open = $7,
    jobs = $8, jobs_open = $9, failures = $10
WHERE run_id = $1
"""
SET_TEXTS = """
UPDATE workflow_run SET graph = $2, workflow_id = $3, name = $4, version = $5, input = $6 WHERE run_id = $1
"""
ACTOR = "SELECT actor FROM workflow_run WHERE run_id = $1"
STEPS = f"SELECT {_STEP} FROM workflow_step WHERE run_id = $1 AND no = ANY($2::int[])"
ALL_STEPS = f"SELECT {_STEP} FROM workflow_step WHERE run_id = $1"
DUE_STEPS = f"""
SELECT {_STEP} FROM workflow_step WHERE run_id = $1 AND state = 'due' AND no <> ALL($3::int[]) ORDER BY no LIMIT $2
"""
ADD_STEPS = """
INSERT INTO workflow_step (run_id, no, state, reason, pending, demand, job_id, total, open, bad)
SELECT $1, * FROM unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::int[], $7::text[], $8::int[], $9::int[],
    $10::int[])
"""
SAVE_STEPS = """
UPDATE workflow_step s SET state = n.state, reason = n.reason, pending = n.pending, demand = n.demand,
    job_id = n.job_id, total = n.total, open = n.open, bad = n.bad, error = n.error
FROM unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::int[], $7::text[], $8::int[], $9::int[], $10::int[],
    $11::text[]) AS n (no, state, reason, pending, demand, job_id, total, open, bad, error)
WHERE s.run_id = $1 AND s.no = n.no
"""
ADD_ITEMS = """
INSERT INTO workflow_item (run_id, no, n, state, value)
SELECT $1, $2, ordinality - 1, 'due', value FROM unnest($3::text[]) WITH ORDINALITY AS v (value, ordinality)
"""
COPY_ITEMS = """
INSERT INTO workflow_item (run_id, no, n, state, reason, job_id, error, value)
SELECT $1, i.no, i.n, i.state, i.reason, i.job_id, i.error, i.value FROM workflow_item i
WHERE i.run_id = $2 AND i.no = ANY($3::int[])
"""
COPY_HALF = """
INSERT INTO workflow_item (run_id, no, n, state, job_id, value)
SELECT $1, i.no, i.n, CASE i.state WHEN 'succeeded' THEN 'succeeded' ELSE 'due' END,
    CASE i.state WHEN 'succeeded' THEN i.job_id END, i.value
FROM workflow_item i WHERE i.run_id = $2 AND i.no = ANY($3::int[])
"""
GOOD_ITEMS = """
SELECT no, count(*) FILTER (WHERE state = 'succeeded')::int, count(*)::int FROM workflow_item
WHERE run_id = $1 AND no = ANY($2::int[]) GROUP BY 1
"""
END_ITEMS = """
UPDATE workflow_item i SET state = e.state, reason = e.reason
FROM unnest($2::int[], $3::int[], $4::text[], $5::text[], $6::text[]) AS e (no, n, job_id, state, reason)
WHERE i.run_id = $1 AND i.no = e.no AND i.n = e.n AND i.job_id = e.job_id AND i.state = 'active'
RETURNING i.no, i.state
"""
DUE_ITEMS = """
SELECT no, n, value FROM workflow_item WHERE run_id = $1 AND state = 'due' AND no <> ALL($3::int[])
ORDER BY no, n LIMIT $2
"""
ANY_DUE = """
SELECT EXISTS (SELECT FROM workflow_item WHERE run_id = $1 AND state = 'due' AND no = ANY($2::int[]))
    OR EXISTS (SELECT FROM workflow_step WHERE run_id = $1 AND state = 'due' AND no = ANY($2::int[]))
"""
BEGIN_ITEMS = """
UPDATE workflow_item i SET state = b.state, reason = b.reason, job_id = b.job_id, error = b.error
FROM unnest($2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS b (no, n, state, reason, job_id, error)
WHERE i.run_id = $1 AND i.no = b.no AND i.n = b.n
"""
CANCEL_ITEMS = """
UPDATE workflow_item SET state = 'cancelled', reason = 'user' WHERE run_id = $1 AND state = 'due' RETURNING no
"""
ITEM_JOBS = "SELECT no, n, state, job_id FROM workflow_item WHERE run_id = $1 AND no = ANY($2::int[]) ORDER BY no, n"
CANCEL_WANTED = """
SELECT a.job_id FROM workflow_run r CROSS JOIN LATERAL (
    SELECT job_id FROM workflow_step s WHERE s.run_id = r.run_id AND s.state = 'active' AND s.job_id IS NOT NULL
    UNION ALL SELECT job_id FROM workflow_item i WHERE i.run_id = r.run_id AND i.state = 'active'
) a JOIN job j USING (job_id)
WHERE r.run_id = $1 AND r.state = 'cancelling'
    AND j.state IN ('queued', 'running', 'scheduled', 'retry_wait', 'blocked')
LIMIT $2
"""
SIZES = "SELECT coalesce(sum(octet_length(value)), 0)::bigint FROM result WHERE job_id = ANY($1::text[])"
RESULTS = "SELECT job_id, value, files FROM result WHERE job_id = ANY($1::text[])"
TODO = "INSERT INTO workflow_todo (run_id) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING"
TODO_LATER = """
INSERT INTO workflow_todo (run_id, at) VALUES ($1, clock_timestamp() + $2) ON CONFLICT DO NOTHING
"""
NEXT_TODO = """
SELECT run_id FROM workflow_todo WHERE at <= clock_timestamp() ORDER BY at, run_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
LATER = "UPDATE workflow_todo SET at = clock_timestamp() WHERE run_id = $1"
DONE = "DELETE FROM workflow_todo WHERE run_id = $1"
STUCK = """
SELECT a.run_id, a.no, a.n, a.job_id, j.state, j.reason FROM (
    SELECT s.run_id, s.no, NULL::int AS n, s.job_id FROM workflow_step s JOIN workflow_run r USING (run_id)
    WHERE r.finished_at IS NULL AND r.created_at < $1 AND s.state = 'active' AND s.job_id IS NOT NULL
    UNION ALL
    SELECT i.run_id, i.no, i.n, i.job_id FROM workflow_item i JOIN workflow_run r USING (run_id)
    WHERE r.finished_at IS NULL AND r.created_at < $1 AND i.state = 'active'
) a LEFT JOIN LATERAL (SELECT job_id, state, reason FROM job WHERE job_id = a.job_id OFFSET 0) j ON true
WHERE j.job_id IS NULL OR j.state IN ('succeeded', 'failed', 'cancelled', 'expired')
ORDER BY a.run_id, a.no, a.n LIMIT $2
"""
OPEN = """
INSERT INTO workflow_todo (run_id)
SELECT run_id FROM workflow_run WHERE finished_at IS NULL AND created_at < $1 ORDER BY created_at LIMIT $2
ON CONFLICT DO NOTHING
"""
OLD = "SELECT run_id FROM workflow_run WHERE finished_at < $1 LIMIT $2"
FORGET = (
    "DELETE FROM workflow_item WHERE run_id = ANY($1::text[])",
    "DELETE FROM workflow_step WHERE run_id = ANY($1::text[])",
    "DELETE FROM workflow_run WHERE run_id = ANY($1::text[])",
)


async def insert(connection: Connection, run: Run, *, graph: str | None, given: str) -> bool:
    """Store a new run; False if it exists."""
    values = [getattr(run, name) for name in COLUMNS]
    return await connection.fetchval(INSERT, *values, graph, given) is not None


async def lock(connection: Connection, run_ids: Iterable[str]) -> dict[str, Run]:
    """Lock runs in id order, after any job that the transaction holds."""
    return {row["run_id"]: run_of(row) for row in await connection.fetch(LOCK, sorted(set(run_ids)))}


def run_of(row: Any) -> Run:
    """A row whose first columns are `COLUMNS`."""
    run = Run(*row[: len(COLUMNS)])
    run.state = RunState(run.state)
    return run


async def texts(connection: Connection, run_id: str) -> tuple[str | None, str]:
    """Graph and input of a run that exists; the graph is None until a stored workflow was looked up."""
    row = await connection.fetchrow(TEXTS, run_id)
    assert row is not None
    return row["graph"], row["input"]


async def save(connection: Connection, run: Run) -> None:
    await connection.execute(
        SAVE, run.run_id, run.state.value, run.error, run.started_at, run.finished_at, run.steps, run.steps_open,
        run.jobs, run.jobs_open, run.failures,
    )  # fmt: skip


async def steps(connection: Connection, run_id: str, numbers: Iterable[int]) -> dict[int, StepRow]:
    return _rows(await connection.fetch(STEPS, run_id, sorted(numbers)))


async def all_steps(connection: Connection, run_id: str) -> dict[int, StepRow]:
    return _rows(await connection.fetch(ALL_STEPS, run_id))


async def due_steps(connection: Connection, run_id: str, *, limit: int, but: Iterable[int] = ()) -> dict[int, StepRow]:
    return _rows(await connection.fetch(DUE_STEPS, run_id, limit, list(but)))


def _rows(rows: Iterable[Any]) -> dict[int, StepRow]:
    found = {}
    for row in rows:
        step = StepRow(*row)
        step.state = StepState(step.state)
        found[step.no] = step
    return found


async def add_steps(connection: Connection, run_id: str, rows: Sequence[StepRow]) -> None:
    columns = zip(
        *((r.no, r.state.value, r.reason, r.pending, r.demand, r.job_id, r.total, r.open, r.bad) for r in rows),
        strict=True,
    )
    await connection.execute(ADD_STEPS, run_id, *(list(column) for column in columns))


async def save_steps(connection: Connection, run_id: str, rows: Iterable[StepRow]) -> None:
    found = [
        (r.no, r.state.value, r.reason, r.pending, r.demand, r.job_id, r.total, r.open, r.bad, r.error) for r in rows
    ]
    if found:
        await connection.execute(SAVE_STEPS, run_id, *(list(column) for column in zip(*found, strict=True)))


async def end_items(
    connection: Connection, run_id: str, ends: Sequence[tuple[int, int, str, StepState, str | None]]
) -> list[tuple[int, StepState]]:
    """(step, item, job, state, reason) of ended items; returns step and state of those that were still active."""
    columns = [list(column) for column in zip(*ends, strict=True)]
    return [(row[0], StepState(row[1])) for row in await connection.fetch(END_ITEMS, run_id, *columns)]


async def begin_items(
    connection: Connection, run_id: str, rows: Sequence[tuple[int, int, str, str | None, str | None, str | None]]
) -> None:
    """(step, item, state, reason, job, error) of items that were due."""
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute(BEGIN_ITEMS, run_id, *columns)


async def put_todo(connection: Connection, run_ids: Iterable[str]) -> None:
    """These runs need somebody to go on with them."""
    await connection.execute(TODO, sorted(run_ids))
