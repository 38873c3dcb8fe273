"""Dead letters: jobs that failed for good, records that no consumer could use, and what people did about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.operations import LetterState
from jobyard_common.db.connection import Connection

HANDLED = "SELECT job_id, action, new_job_id, note, actor, at FROM dead_letter WHERE tenant = $1 AND job_id = ANY($2)"
DISCARD = """
INSERT INTO dead_letter (job_id, tenant, action, note, actor, at)
SELECT job_id, tenant, 'discarded', $3, $4, $5 FROM job WHERE job_id = ANY($2::text[]) AND tenant = $1 AND dead
ON CONFLICT (job_id) DO NOTHING RETURNING job_id
"""
HANDLE_MESSAGE = """
INSERT INTO dead_message (topic, partition, position, fingerprint, action, edited, note, actor, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING action
"""
HANDLED_MESSAGES = """
SELECT topic, partition, position, fingerprint, action, edited, note, actor, at FROM dead_message
WHERE (topic, partition, position) IN (SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[]))
"""
FORGET = (
    "DELETE FROM dead_letter WHERE job_id IN (SELECT job_id FROM dead_letter d WHERE at < $1 "
    "AND (SELECT true FROM job j WHERE j.job_id = d.job_id) IS NULL LIMIT $2)",
    "DELETE FROM dead_message WHERE (topic, partition, position) IN "
    "(SELECT topic, partition, position FROM dead_message WHERE at < $1 LIMIT $2)",
)


class Handled(msgspec.Struct):
    """What somebody did about a dead job."""

    job_id: str
    action: str
    new_job_id: str | None
    note: str | None
    actor: str
    at: datetime


class HandledMessage(msgspec.Struct):
    """What somebody did about a record of a dead-letter topic; the fingerprint tells it from a later one."""

    topic: str
    partition: int
    position: int
    fingerprint: bytes
    action: str
    edited: bool
    note: str | None
    actor: str
    at: datetime


def labels(state: LetterState | None) -> list[str]:
    """By which a list finds dead jobs, of one state or of any; the database keeps them."""
    return [f"d:{one.value}" for one in LetterState if state in (None, one)]


async def handled(connection: Any, tenant: str, job_ids: Sequence[str]) -> dict[str, Handled]:
    rows = [Handled(*row) for row in await connection.fetch(HANDLED, tenant, list(job_ids))]
    return {row.job_id: row for row in rows}


async def discard(
    connection: Connection, tenant: str, job_ids: Sequence[str], *, note: str | None, actor: str, at: datetime
) -> set[str]:
    """Give dead jobs up; returns those that were open."""
    rows = await connection.fetch(DISCARD, tenant, sorted(job_ids), note, actor, at)
    return {row[0] for row in rows}


async def handle_message(connection: Connection, done: HandledMessage) -> bool:
    """False if somebody was first."""
    return await connection.fetchval(HANDLE_MESSAGE, *msgspec.structs.astuple(done)) is not None


async def handled_messages(
    connection: Any, places: Sequence[tuple[str, int, int]]
) -> dict[tuple[str, int, int, bytes], HandledMessage]:
    columns = [[place[n] for place in places] for n in range(3)]
    rows = [HandledMessage(*row) for row in await connection.fetch(HANDLED_MESSAGES, *columns)]
    return {(row.topic, row.partition, row.position, row.fingerprint): row for row in rows}


async def forget(connection: Any, *, before: datetime, limit: int) -> None:
    for statement in FORGET:
        await connection.execute(statement, before, limit)
