"""Bulk operations. Their row is locked before any job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.operations import BulkAction, BulkState
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.bulk import Bulk
from jobyard_executor.store import reading
from jobyard_executor.store.listing import Filters, Position

COLUMNS = Bulk.__struct_fields__
_LIST = ", ".join(COLUMNS)
_PLACES = ", ".join(f"${place}" for place in range(1, len(COLUMNS) + 1))
_MOVING = (
    "state", "options", "matched", "matched_capped", "seen", "applied", "refused", "sample", "cursor_at", "cursor_id",
    "due_at", "finished_at",
)  # fmt: skip
_SET = ", ".join(f"{name} = ${place}" for place, name in enumerate(_MOVING, 2))

INSERT = f"INSERT INTO bulk_operation ({_LIST}) VALUES ({_PLACES}) ON CONFLICT (id) DO NOTHING RETURNING id"
UPDATE = f"UPDATE bulk_operation SET {_SET} WHERE id = $1"
GET = f"SELECT {_LIST} FROM bulk_operation WHERE tenant = $1 AND id = $2"
PAGE = f"""
SELECT {_LIST} FROM bulk_operation
WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3)) AND ($4::text IS NULL OR state = $4)
ORDER BY created_at DESC, id DESC LIMIT $5
"""
DUE = f"""
SELECT {_LIST} FROM bulk_operation WHERE state = 'running' AND due_at <= $1
ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
PENDING = "SELECT EXISTS (SELECT FROM bulk_operation WHERE state = 'running' AND due_at <= $1)"
RUNNING = "SELECT count(*)::int FROM bulk_operation WHERE tenant = $1 AND state = 'running'"
OUTCOMES = "SELECT command_id, outcome FROM command_seen WHERE command_id = ANY($1::text[])"
OWN = "SELECT job_id FROM job WHERE job_id = ANY($2::text[]) AND tenant = $1"
QUEUES = "SELECT job_id, spec::json ->> 'queue' FROM job WHERE job_id = ANY($2::text[]) AND tenant = $1"
FORGET = """
DELETE FROM bulk_operation WHERE id IN (
    SELECT id FROM bulk_operation WHERE state <> 'running' AND finished_at < $1 LIMIT $2)
"""


def _of(row: Any) -> Bulk:
    found = Bulk(*row)
    found.action, found.state = BulkAction(found.action), BulkState(found.state)
    return found


async def insert(connection: Connection, bulk: Bulk) -> bool:
    """False if there is one of this id."""
    return await connection.fetchval(INSERT, *msgspec.structs.astuple(bulk)) is not None


async def update(connection: Connection, bulk: Bulk) -> None:
    await connection.execute(UPDATE, bulk.id, *(getattr(bulk, name) for name in _MOVING))


async def get(connection: Any, tenant: str, bulk_id: str, *, lock: bool = False) -> Bulk | None:
    row = await connection.fetchrow(f"{GET} FOR UPDATE" if lock else GET, tenant, bulk_id)
    return None if row is None else _of(row)


async def page(connection: Any, tenant: str, *, after: Position | None, state: str | None, limit: int) -> list[Bulk]:
    """Newest first."""
    position = after or (None, None)
    return [_of(row) for row in await connection.fetch(PAGE, tenant, *position, state, limit)]


async def running(connection: Connection, tenant: str) -> int:
    return int(await connection.fetchval(RUNNING, tenant))


async def pending(connection: Any, *, now: datetime) -> bool:
    """Whether a step is due."""
    return bool(await connection.fetchval(PENDING, now))


async def take_due(connection: Connection, *, now: datetime) -> Bulk | None:
    """Lock the operation that has waited longest; one that another replica works on is left to it."""
    row = await connection.fetchrow(DUE, now)
    return None if row is None else _of(row)


async def items(
    connection: Connection, tenant: str, filters: Filters, *, after: Position | None, limit: int
) -> list[Position]:
    """The next jobs that match, newest first, by their place in the list."""
    return await reading.places(connection, tenant, filters, after=after, limit=limit)


async def own(connection: Connection, tenant: str, job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs that exist and belong to the tenant."""
    return {row[0] for row in await connection.fetch(OWN, tenant, list(job_ids))}


async def queues(connection: Connection, tenant: str, job_ids: Sequence[str]) -> dict[str, str]:
    """The queue of each job that exists and belongs to the tenant."""
    return {row[0]: row[1] for row in await connection.fetch(QUEUES, tenant, list(job_ids))}


async def outcomes(connection: Connection, command_ids: Sequence[str]) -> dict[str, str]:
    """What became of commands."""
    return {row[0]: row[1] for row in await connection.fetch(OUTCOMES, list(command_ids))}


async def forget(connection: Any, *, before: datetime, limit: int) -> None:
    await connection.execute(FORGET, before, limit)
