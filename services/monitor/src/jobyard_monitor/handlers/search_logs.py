"""Service logs within a span of time, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobyard_common.db.connection import Pool

from jobyard_monitor.domain import cursor
from jobyard_monitor.domain.moments import askable
from jobyard_monitor.domain.page import Page
from jobyard_monitor.store import service_logs
from jobyard_monitor.store.reading import reading
from jobyard_monitor.store.service_logs import Entry, Filters, Position

KIND = "logs"


async def search_logs(
    tenants: Sequence[str], pool: Pool, *, filters: Filters, page_cursor: str | None, limit: int
) -> Page[Entry]:
    """Raises CursorInvalid."""
    before = position(page_cursor) if page_cursor is not None else None
    async with reading(pool) as connection:
        found = await service_logs.search(tenants, connection, filters=filters, before=before, limit=limit + 1)
    shown = found[:limit]
    return Page(shown, cursor.pack(KIND, *shown[-1].position) if len(found) > limit else None)


def position(page_cursor: str) -> Position:
    _, at, kp, ko, ki = cursor.unpack(page_cursor, KIND, tuple[str, datetime, int, int, int])
    if not askable(at) or not (0 <= kp < 2**31 and 0 <= ko < 2**63 and 0 <= ki < 2**31):
        raise cursor.CursorInvalid
    return at, kp, ko, ki
