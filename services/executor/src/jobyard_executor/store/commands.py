"""Which commands were applied, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.db.connection import Connection

SEEN = "SELECT command_id FROM command_seen WHERE command_id = ANY($1::text[])"
OUTCOME = "SELECT command_id, outcome, job_id FROM command_seen WHERE command_id = $1 AND tenant = $2"
UNFINISHED_RETRY = """
SELECT j.job_id FROM job_list l JOIN job j USING (job_id)
WHERE l.origin_id = $1 AND l.made_by = 'retry' AND l.tenant = $2
  AND j.state NOT IN ('succeeded', 'failed', 'cancelled', 'expired')
ORDER BY l.created_at DESC LIMIT 1
"""


async def seen(connection: Connection, command_ids: Sequence[str]) -> set[str]:
    return {row[0] for row in await connection.fetch(SEEN, list(command_ids))}


async def unfinished_retry(connection: Connection, origin_id: str, *, tenant: str) -> str | None:
    """The job that runs `origin_id` again and has not ended."""
    found = await connection.fetchval(UNFINISHED_RETRY, origin_id, tenant)
    return None if found is None else str(found)
