"""Emptying what can be read again, together with the place to read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobyard_common.db.connection import Connection

TABLES: Mapping[str, tuple[str, ...]] = {
    "jobs.events": ("timeline", "chapter", "job_state"),
    "files.events": ("file_timeline",),
    "jobs.output": ("job_log", "job_progress"),
    "logs": ("service_log", "service"),
    "audit": ("audit",),
}
"""What each topic fills."""
RESET = "UPDATE consumer_offset SET next = 0, fingerprint = NULL, updated_at = now() WHERE topic = ANY($1::text[])"


async def restart(connection: Connection, *, topics: Mapping[str, str]) -> None:
    """In the caller's transaction; `topics` maps the names of `TABLES` to names on the broker.

    Offsets first, as everywhere: a running consumer either commits before us or is superseded and reads again.
    """
    await connection.execute(RESET, list(topics.values()))
    tables: Sequence[str] = [table for name in topics for table in TABLES[name]]
    await connection.execute(f"TRUNCATE {', '.join(tables)}")
