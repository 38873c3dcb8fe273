"""What ingest has to know before it makes jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.db.connection import Connection

from jobyard_executor.store import jobs

KNOWN_TOOLS = "SELECT name, version FROM tool_version WHERE NOT retired"
TOMBSTONES = "SELECT job_id, actor FROM tombstone WHERE job_id = ANY($1::text[])"
BODY_HASHES = "SELECT job_id, body_hash FROM keyed_id WHERE job_id = ANY($1::text[])"
NOTE_CONFLICT = """
INSERT INTO lifecycle (job_id, event_no, at, type, state, reason, attempt, actor, data)
SELECT $1, greatest(1000000, max(event_no)) + 1, $2, 'idempotency_conflict', NULL, NULL, 0, $3, $4
FROM lifecycle WHERE job_id = $1 ON CONFLICT DO NOTHING
"""


async def known_tools(connection: Connection) -> set[tuple[str, str]]:
    return {(row[0], row[1]) for row in await connection.fetch(KNOWN_TOOLS)}


async def tombstones(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """Jobs that were cancelled before they came, with who did it."""
    return {row[0]: row[1] for row in await connection.fetch(TOMBSTONES, list(job_ids))}


async def parents(connection: Connection, job_ids: Iterable[str]) -> dict[str, str]:
    """States of the parents that exist; they cannot end before this transaction does."""
    wanted = sorted(job_ids)
    if not wanted:
        return {}
    return {row["job_id"]: row["state"] for row in await connection.fetch(jobs.SHARE, wanted)}


async def body_hashes(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    return {row[0]: row[1] for row in await connection.fetch(BODY_HASHES, list(job_ids))}


async def note_conflict(connection: Connection, command: SubmitJob, *, at: datetime) -> None:
    """One row on the timeline of the job whose key was used again for something else."""
    data = msgspec.json.encode({"command_id": command.command_id, "body_hash": command.body_hash}).decode()
    await connection.execute(NOTE_CONFLICT, command.job_id, at, msgspec.json.encode(command.actor).decode(), data)
