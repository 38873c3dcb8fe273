"""Results that may answer for other jobs with the same input, by tenant and input hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jobyard_common.db.connection import Connection

Key = tuple[str, str]
"""Tenant and input hash."""

HITS = """
SELECT c.tenant, c.key, c.job_id, r.value, r.return_code, r.files, r.run_ms
FROM result_cache c JOIN result r ON r.job_id = c.job_id
WHERE c.tenant = ANY($1::text[]) AND c.key = ANY($2::text[])
  AND (c.tenant, c.key) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND c.until > $3
"""
KEEP = """
INSERT INTO result_cache (tenant, key, job_id, until)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
ON CONFLICT (tenant, key) DO UPDATE SET job_id = excluded.job_id, until = excluded.until
"""
LAPSED = """
DELETE FROM result_cache WHERE (tenant, key) IN (
    SELECT tenant, key FROM result_cache WHERE until < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def hits(connection: Connection, keys: set[Key], *, now: datetime) -> dict[Key, Any]:
    """The results that answer for these inputs now."""
    ordered = sorted(keys)
    rows = await connection.fetch(HITS, [tenant for tenant, _ in ordered], [key for _, key in ordered], now)
    return {(row["tenant"], row["key"]): row for row in rows}


async def keep(connection: Connection, results: Mapping[Key, tuple[str, datetime]]) -> None:
    """Let these jobs answer for their input until then; the newest takes the place of an older one."""
    ordered = sorted(results)
    await connection.execute(
        KEEP,
        [tenant for tenant, _ in ordered],
        [key for _, key in ordered],
        [results[key][0] for key in ordered],
        [results[key][1] for key in ordered],
    )
