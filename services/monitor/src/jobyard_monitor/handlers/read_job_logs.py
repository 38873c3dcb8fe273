"""The lines of one job, in order; progress is not a line."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.db.connection import Pool

from jobyard_monitor.domain import cursor
from jobyard_monitor.domain.page import Page
from jobyard_monitor.store import job_output
from jobyard_monitor.store.job_output import Line
from jobyard_monitor.store.reading import reading

KIND = "job-log"


async def read_job_logs(
    tenant: str,
    pool: Pool,
    *,
    job_id: str,
    after_seq: int = 0,
    page_cursor: str | None = None,
    streams: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    limit: int = 200,
) -> Page[Line]:
    """A job that nobody knows has no lines: whether it exists is the executor's word.

    Raises:
        CursorInvalid: `page_cursor` is not ours.
    """
    if page_cursor is not None:
        after_seq = max(after_seq, position(page_cursor))
    async with reading(pool) as connection:
        found = await job_output.lines(
            tenant, connection, job_id=job_id, after_seq=after_seq, streams=streams, levels=levels, limit=limit + 1
        )
    shown = found[:limit]
    return Page(shown, cursor.pack(KIND, shown[-1].seq) if len(found) > limit else None)


async def read_seen(tenant: str, pool: Pool, *, job_id: str) -> int:
    """How far the output of a job was taken in; whoever wants the lines up to there reads them after this."""
    async with reading(pool) as connection:
        return await job_output.seen(tenant, connection, job_id=job_id)


def position(page_cursor: str) -> int:
    """The last number that the page before showed."""
    seq = cursor.unpack(page_cursor, KIND, tuple[str, int])[1]
    if not 0 <= seq < 2**63:
        raise cursor.CursorInvalid
    return seq
