"""The last heartbeat of every service instance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from jobyard_common.db.connection import Connection

from jobyard_monitor.domain.system import Beat
from jobyard_monitor.domain.wire import ObservedBeat

PUT = """
INSERT INTO service AS old (service, instance, version, started_at, at, status, checks, facts)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
                     $8::text[])
ON CONFLICT (service, instance) DO UPDATE SET
    version = excluded.version, started_at = excluded.started_at, at = excluded.at, status = excluded.status,
    checks = excluded.checks, facts = excluded.facts
WHERE old.at < excluded.at
"""
ALL = "SELECT service, instance, version, started_at, at, status, checks FROM service ORDER BY service, instance"
FORGET = "DELETE FROM service WHERE at < $1"


async def put(connection: Connection, beats: Sequence[ObservedBeat]) -> None:
    """`beats` hold each instance once, sorted by service and instance."""
    await connection.execute(
        PUT,
        [beat.service for beat in beats],
        [beat.instance for beat in beats],
        [beat.version for beat in beats],
        [beat.started_at for beat in beats],
        [beat.at for beat in beats],
        [beat.status for beat in beats],
        [msgspec.json.encode(beat.checks).decode() for beat in beats],
        [bytes(beat.facts).decode() for beat in beats],
    )


async def every(connection: Connection) -> list[Beat]:
    rows = await connection.fetch(ALL)
    return [Beat(**{**dict(row), "checks": msgspec.json.decode(row["checks"])}) for row in rows]


async def forget(connection: Connection, *, before: datetime) -> None:
    await connection.execute(FORGET, before)
