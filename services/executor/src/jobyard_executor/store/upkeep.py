"""Tables through which every job passes: short, and full of rows that are gone."""

from __future__ import annotations

from typing import Any

VACUUM = "VACUUM (SKIP_LOCKED, TRUNCATE false, INDEX_CLEANUP on, PARALLEL 0) ready, lease, outbox"


async def vacuum(connection: Any) -> None:
    """Forget rows that are gone; tables that somebody else is at are left to them. Not inside a transaction."""
    await connection.execute(VACUUM)
