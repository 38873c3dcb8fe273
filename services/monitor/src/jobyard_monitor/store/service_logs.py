"""Logs of services: written by COPY, read newest first within a span of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobyard_common.db.connection import Connection

COLUMNS = (
    *("at", "kp", "ko", "ki", "tenant", "service", "instance", "level", "severity", "event", "message", "logger"),
    *("trace_id", "span_id", "correlation_id", "job_id", "exception", "fingerprint", "fields"),
)
LogRow = tuple[object, ...]
"""Values in the order of `COLUMNS`."""

SEARCH = """
SELECT at, kp, ko, ki, service, instance, level, event, message, logger, trace_id, span_id, correlation_id, job_id,
       exception, fingerprint, fields
FROM service_log
WHERE tenant = ANY($1::text[]) AND at >= $2 AND at < $3 AND severity >= $4
  AND ($5::text[] IS NULL OR service = ANY($5))
  AND ($6::text IS NULL OR correlation_id = $6) AND ($7::text IS NULL OR job_id = $7)
  AND ($8::text IS NULL OR event ILIKE $8 OR message ILIKE $8 OR fields ILIKE $8 OR exception ILIKE $8)
  AND ($9::timestamptz IS NULL OR (at, kp, ko, ki) < ($9, $10::int, $11::bigint, $12::int))
ORDER BY at DESC, kp DESC, ko DESC, ki DESC LIMIT $13
"""

ERRORS = """
SELECT fingerprint, count(*) AS times, min(at) AS first_at, max(at) AS last_at,
       array_agg(DISTINCT service) AS services,
       (array_agg(event ORDER BY at DESC))[1] AS event,
       (array_agg(message ORDER BY at DESC))[1] AS message,
       (array_agg(level ORDER BY at DESC))[1] AS level,
       (array_agg(logger ORDER BY at DESC))[1] AS logger,
       (array_agg(exception ORDER BY at DESC))[1] AS exception,
       (array_agg(trace_id ORDER BY at DESC))[1] AS trace_id,
       (array_agg(correlation_id ORDER BY at DESC))[1] AS correlation_id,
       (array_agg(job_id ORDER BY at DESC))[1] AS job_id
FROM (
    SELECT * FROM service_log
    WHERE tenant = ANY($1::text[]) AND at >= $2 AND at < $3 AND severity >= 17
      AND ($4::text[] IS NULL OR service = ANY($4))
    ORDER BY at DESC LIMIT $5
) AS recent
GROUP BY fingerprint ORDER BY max(at) DESC LIMIT $6
"""

Position = tuple[datetime, int, int, int]
"""Where a page ended: (at, kp, ko, ki)."""


@dataclass(frozen=True)
class Filters:
    """`services`, ids and `words` None = any. `severity` is the least one; `words` is looked for as it stands."""

    since: datetime
    until: datetime
    severity: int = 0
    services: Sequence[str] | None = None
    correlation_id: str | None = None
    job_id: str | None = None
    words: str | None = None


@dataclass(frozen=True)
class Entry:
    at: datetime
    kp: int
    ko: int
    ki: int
    service: str
    instance: str
    level: str
    event: str
    message: str
    logger: str
    trace_id: str | None
    span_id: str | None
    correlation_id: str | None
    job_id: str | None
    exception: str | None
    fingerprint: str | None
    fields: str | None

    @property
    def position(self) -> Position:
        return (self.at, self.kp, self.ko, self.ki)


@dataclass(frozen=True)
class ErrorGroup:
    """Errors of one cause, with its newest occurrence."""

    fingerprint: str | None
    times: int
    first_at: datetime
    last_at: datetime
    services: list[str]
    event: str
    message: str
    level: str
    logger: str
    exception: str | None
    trace_id: str | None
    correlation_id: str | None
    job_id: str | None


async def add(connection: Connection, rows: Sequence[LogRow]) -> None:
    await connection.copy_records_to_table("service_log", records=rows, columns=COLUMNS)


async def search(
    tenants: Sequence[str],
    connection: Connection,
    *,
    filters: Filters,
    before: Position | None,
    limit: int,
) -> list[Entry]:
    at, kp, ko, ki = before or (None, None, None, None)
    rows = await connection.fetch(
        SEARCH,
        list(tenants),
        filters.since,
        filters.until,
        filters.severity,
        filters.services,
        filters.correlation_id,
        filters.job_id,
        None if filters.words is None else f"%{_literal(filters.words)}%",
        at,
        kp,
        ko,
        ki,
        limit,
    )
    return [Entry(**dict(row)) for row in rows]


async def errors(
    tenants: Sequence[str],
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    services: Sequence[str] | None,
    newest: int,
    limit: int,
) -> list[ErrorGroup]:
    """The newest `newest` errors of a span of time, grouped; at most `limit` groups."""
    rows = await connection.fetch(ERRORS, list(tenants), since, until, services, newest, limit)
    return [ErrorGroup(**dict(row)) for row in rows]


def _literal(words: str) -> str:
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
