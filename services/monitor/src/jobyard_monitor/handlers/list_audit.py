"""The audit trail, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobyard_common.db.connection import Pool

from jobyard_monitor.domain import cursor
from jobyard_monitor.domain.moments import askable
from jobyard_monitor.domain.page import Page
from jobyard_monitor.store import audit
from jobyard_monitor.store.audit import Filters, Row
from jobyard_monitor.store.reading import reading

KIND = "audit"


async def list_audit(
    tenants: Sequence[str], pool: Pool, *, filters: Filters, page_cursor: str | None, limit: int
) -> Page[Row]:
    """Raises CursorInvalid."""
    before = position(page_cursor) if page_cursor is not None else None
    async with reading(pool) as connection:
        found = await audit.listing(tenants, connection, filters=filters, before=before, limit=limit + 1)
    shown = found[:limit]
    return Page(shown, cursor.pack(KIND, shown[-1].at, shown[-1].id) if len(found) > limit else None)


def position(page_cursor: str) -> tuple[datetime, str]:
    _, at, entry_id = cursor.unpack(page_cursor, KIND, tuple[str, datetime, str])
    if not askable(at) or "\x00" in entry_id:
        raise cursor.CursorInvalid
    return at, entry_id
