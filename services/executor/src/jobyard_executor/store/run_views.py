"""Runs as their owners see them: lists, one run with a page of its steps, one step with a page of its items."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobyard_executor.store.runs import COLUMNS, Run, run_of

_LIST = ", ".join(COLUMNS)
ONE = f"SELECT {_LIST}, graph, input FROM workflow_run WHERE tenant = $1 AND run_id = $2"
PAGE = f"""
SELECT {_LIST} FROM workflow_run
WHERE tenant = $1 AND ($2::text[] IS NULL OR state = ANY($2)) AND ($3::text IS NULL OR name = $3)
    AND ($4::text IS NULL OR workflow_id = $4) AND ($5::timestamptz IS NULL OR (created_at, run_id) < ($5, $6))
ORDER BY created_at DESC, run_id DESC LIMIT $7
"""
COUNTS = "SELECT state, count(*)::int AS n FROM workflow_step WHERE run_id = $1 GROUP BY state"
STEPS = """
SELECT s.no, s.state, s.reason, s.job_id, s.total, s.open, s.bad, s.error, j.state AS job_state,
    j.started_at, j.finished_at, j.error AS job_error
FROM workflow_step s LEFT JOIN job j ON j.job_id = s.job_id
WHERE s.run_id = $1 AND s.no > $2 AND ($3::text[] IS NULL OR s.state = ANY($3)) ORDER BY s.no LIMIT $4
"""
ITEMS = """
SELECT i.n, i.state, i.reason, i.job_id, i.error, i.value, j.state AS job_state, j.started_at, j.finished_at,
    j.error AS job_error
FROM workflow_item i LEFT JOIN job j ON j.job_id = i.job_id
WHERE i.run_id = $1 AND i.no = $2 AND i.n > $3 AND ($4::text[] IS NULL OR i.state = ANY($4)) ORDER BY i.n LIMIT $5
"""


async def one(connection: Any, tenant: str, run_id: str) -> tuple[Run, str | None, str] | None:
    """A run, its graph and its input."""
    row = await connection.fetchrow(ONE, tenant, run_id)
    return None if row is None else (run_of(row), row["graph"], row["input"])


async def page(
    connection: Any,
    tenant: str,
    *,
    states: Sequence[str],
    name: str | None,
    workflow_id: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Run]:
    """Newest first."""
    at, last = after or (None, None)
    rows = await connection.fetch(PAGE, tenant, list(states) or None, name, workflow_id, at, last, limit)
    return [run_of(row) for row in rows]


async def counts(connection: Any, run_id: str) -> dict[str, int]:
    """Steps by state."""
    return {row["state"]: row["n"] for row in await connection.fetch(COUNTS, run_id)}
