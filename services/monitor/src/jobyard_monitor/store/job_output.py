"""What jobs said: lines by COPY into partitions by day, and the last progress of each job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobyard_common.db.connection import Connection

COLUMNS = ("tenant", "job_id", "seq", "at", "attempt", "stream", "level", "message", "fields", "late")
LogRow = tuple[str, str, int, datetime, int, str, str | None, str, str | None, bool]

PUT_PROGRESS = """
INSERT INTO job_progress AS old (job_id, tenant, attempt, seq, at, progress)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::timestamptz[], $6::text[])
ON CONFLICT (job_id) DO UPDATE SET
    attempt = excluded.attempt, seq = excluded.seq, at = excluded.at, progress = excluded.progress
WHERE old.seq < excluded.seq
"""

# A pack that its producer sent twice is there twice; a reader gets each number once.
LINES = """
SELECT DISTINCT ON (seq) seq, at, attempt, stream, level, message, fields, late
FROM job_log
WHERE job_id = $2 AND tenant = $1 AND seq > $3
  AND ($4::text[] IS NULL OR stream = ANY($4)) AND ($5::text[] IS NULL OR level = ANY($5))
ORDER BY seq LIMIT $6
"""

SEEN = """
SELECT greatest(
    (SELECT max(seq) FROM job_log WHERE job_id = $2 AND tenant = $1),
    (SELECT seq FROM job_progress WHERE job_id = $2 AND tenant = $1),
    0)
"""

PRUNE_PROGRESS = """
DELETE FROM job_progress WHERE job_id = ANY(ARRAY(SELECT job_id FROM job_progress WHERE at < $1 LIMIT $2))
"""


@dataclass(frozen=True)
class ProgressRow:
    job_id: str
    tenant: str
    attempt: int
    seq: int
    at: datetime
    progress: str


@dataclass(frozen=True)
class Line:
    """One line of a job's log. `fields` is JSON text of an object, or None."""

    seq: int
    at: datetime
    attempt: int
    stream: str
    level: str | None
    message: str
    fields: str | None
    late: bool


async def add_lines(connection: Connection, rows: Sequence[LogRow]) -> None:
    await connection.copy_records_to_table("job_log", records=rows, columns=COLUMNS)


async def put_progress(connection: Connection, rows: Sequence[ProgressRow]) -> None:
    """`rows` hold each job once, sorted by its id."""
    await connection.execute(
        PUT_PROGRESS,
        [row.job_id for row in rows],
        [row.tenant for row in rows],
        [row.attempt for row in rows],
        [row.seq for row in rows],
        [row.at for row in rows],
        [row.progress for row in rows],
    )


async def lines(
    tenant: str,
    connection: Connection,
    *,
    job_id: str,
    after_seq: int,
    streams: Sequence[str] | None,
    levels: Sequence[str] | None,
    limit: int,
) -> list[Line]:
    rows = await connection.fetch(LINES, tenant, job_id, after_seq, streams, levels, limit)
    return [Line(**dict(row)) for row in rows]


async def seen(tenant: str, connection: Connection, *, job_id: str) -> int:
    """The last number that was taken in, of a line or of progress; all before it were taken in, too."""
    found: int = await connection.fetchval(SEEN, tenant, job_id)
    return found


async def prune_progress(connection: Connection, *, before: datetime, batch: int) -> int:
    status: str = await connection.execute(PRUNE_PROGRESS, before, batch)
    return int(status.rpartition(" ")[2])
