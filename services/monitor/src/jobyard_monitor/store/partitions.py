"""Making and dropping partitions by day.

A partition is made beside its table and then attached, because making it in place would lock readers and writers
out. Rows of its day that went to the default partition meanwhile move over in the same transaction.
"""

from __future__ import annotations

from datetime import datetime

from jobyard_common.db.connection import Connection

from jobyard_monitor.domain.partitions import Partition

LOCK = "SELECT pg_advisory_xact_lock(hashtext('monitor partitions'))"
NAMES = """
SELECT child.relname FROM pg_inherits
JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
JOIN pg_namespace n ON n.oid = parent.relnamespace
WHERE parent.relname = $1 AND n.nspname = current_schema()
"""
KEYS = {"timeline": "job_created_at", "chapter": "job_created_at", "job_log": "at", "service_log": "at"}
"""The tables with partitions, and the column each is split by."""


async def lock(connection: Connection) -> None:
    """This transaction alone may change partitions until it ends."""
    await connection.execute(LOCK)


async def names(connection: Connection, *, table: str) -> list[str]:
    return [row["relname"] for row in await connection.fetch(NAMES, table)]


async def create(connection: Connection, partition: Partition) -> None:
    table, name, key = partition.table, partition.name, KEYS[partition.table]
    await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    await connection.execute(
        f"WITH moved AS (DELETE FROM {table}_default WHERE {key} >= $1 AND {key} < $2 RETURNING *) "
        f"INSERT INTO {name} SELECT * FROM moved",
        partition.begins,
        partition.ends,
    )
    bounds = f"FROM ('{partition.begins.isoformat()}') TO ('{partition.ends.isoformat()}')"
    await connection.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {bounds}")


async def drop(connection: Connection, partition: Partition) -> None:
    await connection.execute(f"DROP TABLE {partition.name}")


async def prune_default(connection: Connection, *, table: str, before: datetime, batch: int) -> int:
    """Rows of days that have no partition any more."""
    key = KEYS[table]
    old = f"SELECT ctid FROM {table}_default WHERE {key} < $1 LIMIT $2"
    status: str = await connection.execute(f"DELETE FROM {table}_default WHERE ctid = ANY(ARRAY({old}))", before, batch)
    return int(status.rpartition(" ")[2])
