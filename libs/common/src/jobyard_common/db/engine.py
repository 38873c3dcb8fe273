"""A small SQLAlchemy engine for administration; hot paths use the pool."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from jobyard_common.db.pool import SETTINGS


def make_engine(dsn: str, *, application_name: str, pool_size: int = 2, pooled: bool = True) -> AsyncEngine:
    settings = {**SETTINGS, "application_name": application_name}
    options = {"connect_args": {"server_settings": settings, "timeout": 5}}
    if not pooled:
        return create_async_engine(sqlalchemy_url(dsn), poolclass=NullPool, **options)
    return create_async_engine(
        sqlalchemy_url(dsn), poolclass=AsyncAdaptedQueuePool, pool_size=pool_size, max_overflow=0, **options
    )


def sqlalchemy_url(dsn: str) -> URL:
    """The same database as a libpq-style DSN names, also where the host is a folder with a socket."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    host = query.pop("host", None) or (unquote(parts.hostname) if parts.hostname else None)
    if host and host.startswith("/"):
        port = query.pop("port", None) or parts.port
        query["host"] = host
        if port:
            query["port"] = str(port)
        host, port_number = None, None
    else:
        port_number = parts.port
    return URL.create(
        "postgresql+asyncpg",
        username=unquote(parts.username) if parts.username else query.pop("user", None),
        password=unquote(parts.password) if parts.password else query.pop("password", None),
        host=host,
        port=port_number,
        database=parts.path.lstrip("/") or None,
        query=query,
    )
