"""A page of a tenant's files, newest first."""

from __future__ import annotations

import asyncpg

from jobyard_files.domain.file import File
from jobyard_files.store import files
from jobyard_files.store.files import Filters


class ListFiles:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def __call__(self, *, tenant: str, filters: Filters, limit: int) -> tuple[list[File], bool]:
        """The page, and whether older files follow."""
        rows = await files.page(self._pool, tenant=tenant, filters=filters, limit=limit + 1)
        return rows[:limit], len(rows) > limit
