"""Rows of limits, and who holds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.limits import Limit, Rate

_COLUMNS = "key, n, rate_n, rate_s, burst, weight, version, changed_at, declared, auto"
GET = f'SELECT {_COLUMNS} FROM "limit" WHERE key = $1'
LOCK = f"{GET} FOR UPDATE"
OF_QUEUES = f"SELECT {_COLUMNS} FROM \"limit\" WHERE NOT auto AND key ~ '^queue:'"
LIST = f"""
SELECT {_COLUMNS} FROM "limit" WHERE NOT auto AND key COLLATE "C" > $2 AND (
    key ~ '^(queue|tool):' OR key = 'tenant:' || $1 OR ($3 AND key ~ '^tenant:')
    OR starts_with(key, 'key:' || $1 || '/') OR starts_with(key, 'fairness:' || $1 || '/'))
ORDER BY key COLLATE "C" LIMIT $4
"""
PUT = f"""
INSERT INTO "limit" (key, n, rate_n, rate_s, burst, weight, declared, auto) VALUES ($1, $2, $3, $4, $5, $6, $7, false)
ON CONFLICT (key) DO UPDATE SET n = excluded.n, rate_n = excluded.rate_n, rate_s = excluded.rate_s,
    burst = excluded.burst, weight = excluded.weight, declared = excluded.declared, auto = false,
    next_at = CASE WHEN excluded.rate_n IS NULL THEN NULL ELSE "limit".next_at END,
    version = "limit".version + 1, changed_at = now()
RETURNING {_COLUMNS}
"""
DELETE = 'DELETE FROM "limit" WHERE key = $1'
OWN = """
SELECT count(*)::int FROM "limit" WHERE NOT auto
    AND (starts_with(key, 'key:' || $1 || '/') OR starts_with(key, 'fairness:' || $1 || '/'))
"""
DECLARED = """
SELECT (definition::json -> 'limits' ->> 'concurrency')::int FROM tool_version
WHERE name = $1 AND NOT retired ORDER BY seen_at DESC LIMIT 1
"""
UNUSED = """
DELETE FROM "limit" WHERE key IN (
    SELECT key FROM "limit" l WHERE auto AND changed_at < now() - interval '1 hour' AND NOT EXISTS (
        SELECT FROM lease WHERE concurrency = substr(l.key, strpos(l.key, '/') + 1))
    ORDER BY key LIMIT $1 FOR UPDATE SKIP LOCKED)
"""
"""Limits that claims made for concurrency keys nobody runs under; the next claim makes them again."""
HOLDERS = """
SELECT job_id, tool, queue, attempt, started_at FROM lease
WHERE tenant = $1 AND CASE $2 WHEN 'queue' THEN queue = $3 WHEN 'tool' THEN tool = $3 WHEN 'tenant' THEN tenant = $3
    ELSE concurrency = $3 END
ORDER BY started_at, job_id LIMIT $4
"""


class LimitRow(msgspec.Struct, frozen=True):
    """`declared` came from a tool, `auto` from a claim under a concurrency key without a limit of its own."""

    key: str
    n: int | None
    rate_n: int | None
    rate_s: float | None
    burst: int | None
    weight: float | None
    version: int
    changed_at: datetime
    declared: bool
    auto: bool

    @property
    def rate(self) -> Rate | None:
        if self.rate_n is None or self.rate_s is None:
            return None
        return Rate(self.rate_n, self.rate_s, self.burst)

    def says(self, limit: Limit) -> bool:
        """Whether a PUT of this limit would change nothing."""
        rate = limit.rate and (limit.rate.count, limit.rate.per_s, limit.rate.most)
        own = self.rate and (self.rate_n, self.rate_s, self.burst)
        return (self.n, own, self.weight) == (limit.concurrency, rate, limit.weight)


async def get(connection: Any, key: str) -> LimitRow | None:
    row = await connection.fetchrow(GET, key)
    return None if row is None else LimitRow(*row)


async def of_queues(connection: Any) -> dict[str, LimitRow]:
    """Limits on queues, by their keys."""
    return {row["key"]: LimitRow(*row) for row in await connection.fetch(OF_QUEUES)}


async def lock(connection: Connection, key: str) -> LimitRow | None:
    row = await connection.fetchrow(LOCK, key)
    return None if row is None else LimitRow(*row)


async def page(connection: Any, tenant: str, *, after: str, all_tenants: bool, limit: int) -> list[LimitRow]:
    """Limits that hold for a tenant; of other tenants only for those who may see all."""
    return [LimitRow(*row) for row in await connection.fetch(LIST, tenant, after, all_tenants, limit)]


async def put(connection: Connection, key: str, limit: Limit, *, declared: bool = False) -> LimitRow:
    rate = limit.rate
    allowed = (rate.count, rate.per_s, rate.most) if rate else (None, None, None)
    rows = await connection.fetch(PUT, key, limit.concurrency, *allowed, limit.weight, declared)
    return LimitRow(*rows[0])


async def remove(connection: Connection, key: str) -> None:
    await connection.execute(DELETE, key)


async def own_count(connection: Connection, tenant: str) -> int:
    """How many limits a tenant put on its own keys."""
    return int(await connection.fetchval(OWN, tenant))


async def declared_concurrency(connection: Connection, tool: str) -> int | None:
    """What the newest definition of a tool says."""
    found: int | None = await connection.fetchval(DECLARED, tool)
    return found


async def remove_unused(connection: Connection, *, limit: int) -> None:
    await connection.execute(UNUSED, limit)


async def holders(connection: Any, tenant: str, *, kind: str, name: str, limit: int) -> Sequence[Any]:
    """Running jobs of a tenant under a limit, longest first."""
    rows: Sequence[Any] = await connection.fetch(HOLDERS, tenant, kind, name, limit)
    return rows
