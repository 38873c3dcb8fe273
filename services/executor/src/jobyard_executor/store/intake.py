"""What ingest has to know before it makes jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from jobyard_common.contracts.jobs import DedupeMode, SubmitJob
from jobyard_common.db.connection import Connection

from jobyard_executor.store import jobs

KNOWN_TOOLS = "SELECT name, version FROM tool_version WHERE NOT retired"
TOMBSTONES = "SELECT job_id, actor FROM tombstone WHERE job_id = ANY($1::text[])"
BODY_HASHES = "SELECT job_id, body_hash FROM keyed_id WHERE job_id = ANY($1::text[])"
TAKE_DEDUPE = """
INSERT INTO dedupe AS d (tenant, key, job_id, until)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
ON CONFLICT (tenant, key) DO UPDATE SET job_id = excluded.job_id, until = excluded.until
WHERE d.until IS NOT NULL AND d.until < clock_timestamp()
"""
OWNERS = "SELECT tenant, key, job_id FROM dedupe WHERE (tenant, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
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


async def take_dedupe_keys(connection: Connection, commands: Sequence[SubmitJob]) -> dict[str, str]:
    """Take the dedupe keys that are free; returns the jobs that came second, with the job that holds their key."""
    rows: dict[tuple[str, str], SubmitJob] = {}
    for command in commands:
        if command.spec.dedupe is not None:
            rows.setdefault((command.tenant, command.spec.dedupe.key), command)
    if not rows:
        return {}
    keys = sorted(rows)
    await connection.execute(
        TAKE_DEDUPE,
        [tenant for tenant, _ in keys],
        [key for _, key in keys],
        [rows[key].job_id for key in keys],
        [_until(rows[key]) for key in keys],
    )
    # In the next statement: a rival that committed meanwhile is invisible to the insert itself.
    found = await connection.fetch(OWNERS, [tenant for tenant, _ in keys], [key for _, key in keys])
    owners = {(row[0], row[1]): row[2] for row in found}
    losers = {}
    for command in commands:
        if command.spec.dedupe is not None:
            owner = owners.get((command.tenant, command.spec.dedupe.key), command.job_id)
            if owner != command.job_id:
                losers[command.job_id] = owner
    return losers


def _until(command: SubmitJob) -> datetime | None:
    dedupe = command.spec.dedupe
    if dedupe is None or dedupe.mode is not DedupeMode.TTL:
        return None
    return command.accepted_at + timedelta(seconds=dedupe.ttl_s or 60.0)


async def note_conflict(connection: Connection, command: SubmitJob, *, at: datetime) -> None:
    """One row on the timeline of the job whose key was used again for something else."""
    data = msgspec.json.encode({"command_id": command.command_id, "body_hash": command.body_hash}).decode()
    await connection.execute(NOTE_CONFLICT, command.job_id, at, msgspec.json.encode(command.actor).decode(), data)
