"""A small SQLAlchemy engine for administration; hot paths use the pool."""

from __future__ import annotations

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from jobyard_common.db.pool import SETTINGS


def make_engine(dsn: str, *, application_name: str, pool_size: int = 2, pooled: bool = True) -> AsyncEngine:
    """`dsn` is read by asyncpg itself, so that it means the same here and in the pool (`sslmode`, sockets, several
    hosts)."""

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn, timeout=5, server_settings={**SETTINGS, "application_name": application_name})

    url = "postgresql+asyncpg://"
    if not pooled:
        return create_async_engine(url, poolclass=NullPool, async_creator=connect)
    return create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        async_creator=connect,
    )
