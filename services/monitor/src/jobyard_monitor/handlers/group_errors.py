"""Recent errors of services, grouped by cause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobyard_common.db.connection import Pool

from jobyard_monitor.store import service_logs
from jobyard_monitor.store.reading import reading
from jobyard_monitor.store.service_logs import ErrorGroup

NEWEST = 20_000
"""Errors looked at: a storm of them must not make the page about it slow."""


async def group_errors(
    tenants: Sequence[str],
    pool: Pool,
    *,
    since: datetime,
    until: datetime,
    services: Sequence[str] | None,
    limit: int,
) -> list[ErrorGroup]:
    async with reading(pool) as connection:
        return await service_logs.errors(
            tenants, connection, since=since, until=until, services=services, newest=NEWEST, limit=limit
        )
