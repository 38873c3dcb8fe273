"""Events of files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_monitor.domain.story import FileStep
from jobyard_monitor.domain.wire import ObservedFile

ADD_STEPS = """
INSERT INTO file_timeline (tenant, file_id, event_no, at, type, state, name, size, content_type, sha256, job_id,
                           actor_kind, actor_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
                     $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
ON CONFLICT DO NOTHING
"""

STEPS_OF_JOB = """
SELECT at, file_id, event_no, type, state, name, size, content_type, sha256, actor_kind, actor_id,
       job_id IS NOT DISTINCT FROM $2 AS made_by_job
FROM file_timeline WHERE tenant = $1 AND (job_id = $2 OR file_id = ANY($3::text[]))
ORDER BY at, file_id, event_no LIMIT $4
"""

PRUNE = """
DELETE FROM file_timeline WHERE (file_id, event_no) IN
    (SELECT file_id, event_no FROM file_timeline WHERE at < $1 LIMIT $2)
"""


class Observed(msgspec.Struct, frozen=True):
    """An event with what its envelope adds."""

    at: datetime
    type: str
    event: ObservedFile


async def add_steps(connection: Connection, rows: Sequence[Observed]) -> None:
    events = [row.event for row in rows]
    files = [event.file for event in events]
    await connection.execute(
        ADD_STEPS,
        [file.tenant for file in files],
        [file.id for file in files],
        [event.event_no for event in events],
        [row.at for row in rows],
        [row.type for row in rows],
        [file.state for file in files],
        [file.name for file in files],
        [file.size for file in files],
        [file.content_type for file in files],
        [file.sha256 for file in files],
        [file.job_id for file in files],
        [event.actor.kind.value for event in events],
        [event.actor.id for event in events],
    )


async def steps_of_job(
    tenant: str, connection: Connection, *, job_id: str, inputs: Sequence[str], limit: int
) -> list[FileStep]:
    """Events of the files that the job made, and of its `inputs`."""
    rows = await connection.fetch(STEPS_OF_JOB, tenant, job_id, list(inputs), limit)
    return [FileStep(**dict(row)) for row in rows]


async def prune(connection: Connection, *, before: datetime, batch: int) -> int:
    status: str = await connection.execute(PRUNE, before, batch)
    return int(status.rpartition(" ")[2])
