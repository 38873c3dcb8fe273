"""Who did what to what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobyard_common.db.connection import Connection

ADD = """
INSERT INTO audit (id, at, tenant, actor_kind, actor_id, action, target, outcome, detail, correlation_id, trace_id)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[])
ON CONFLICT DO NOTHING
"""
LIST = """
SELECT id, at, actor_kind, actor_id, action, target, outcome, detail, correlation_id, trace_id
FROM audit
WHERE tenant = ANY($1::text[])
  AND ($2::text IS NULL OR action = $2) AND ($3::text IS NULL OR actor_id = $3)
  AND ($4::text IS NULL OR target = $4) AND ($5::text IS NULL OR outcome = $5)
  AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
  AND ($8::timestamptz IS NULL OR (at, id) < ($8, $9::text))
ORDER BY at DESC, id DESC LIMIT $10
"""
PRUNE = "DELETE FROM audit WHERE id = ANY(ARRAY(SELECT id FROM audit WHERE at < $1 LIMIT $2))"


@dataclass(frozen=True)
class Row:
    """`detail` is JSON text of an object."""

    id: str
    at: datetime
    actor_kind: str
    actor_id: str
    action: str
    target: str
    outcome: str
    detail: str
    correlation_id: str
    trace_id: str
    tenant: str = ""


@dataclass(frozen=True)
class Filters:
    """None = any. `since` is inclusive, `until` exclusive."""

    action: str | None = None
    actor: str | None = None
    target: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def add(connection: Connection, rows: Sequence[Row]) -> None:
    await connection.execute(
        ADD,
        [row.id for row in rows],
        [row.at for row in rows],
        [row.tenant for row in rows],
        [row.actor_kind for row in rows],
        [row.actor_id for row in rows],
        [row.action for row in rows],
        [row.target for row in rows],
        [row.outcome for row in rows],
        [row.detail for row in rows],
        [row.correlation_id for row in rows],
        [row.trace_id for row in rows],
    )


async def listing(
    tenants: Sequence[str],
    connection: Connection,
    *,
    filters: Filters,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    at, entry_id = before or (None, None)
    rows = await connection.fetch(
        LIST,
        list(tenants),
        filters.action,
        filters.actor,
        filters.target,
        filters.outcome,
        filters.since,
        filters.until,
        at,
        entry_id,
        limit,
    )
    return [Row(**dict(row)) for row in rows]


async def prune(connection: Connection, *, before: datetime, batch: int) -> int:
    status: str = await connection.execute(PRUNE, before, batch)
    return int(status.rpartition(" ")[2])
