"""One database, one role and one schema per service; PostgreSQL itself refuses what crosses them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import asyncpg

SERVICES = ("gateway", "executor", "files", "monitor")


def role_of(service: str) -> str:
    return f"jobyard_{service}"


def dsn_of(dsn: str, *, database: str, user: str | None = None) -> str:
    """The same server, another database and, where given, another role."""
    parts = urlsplit(dsn)
    location = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=location, path=f"/{database}"))


async def ensure_roles(dsn: str, *, services: Sequence[str] = SERVICES) -> None:
    """Roles belong to the whole server; safe to call from several processes at once."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for service in services:
            known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role_of(service))
            if not known:
                try:
                    await connection.execute(
                        f'CREATE ROLE "{role_of(service)}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE'
                    )
                except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                    continue
    finally:
        await connection.close()


async def ensure_database(dsn: str, *, database: str) -> None:
    """Create it if it is missing; nobody but the superuser may create schemas in it."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
            await connection.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
    finally:
        await connection.close()


async def ensure_schemas(dsn: str, *, database: str, services: Sequence[str] = SERVICES) -> None:
    """Each service owns a schema in `database`, finds it without naming it, and may enter no other."""
    connection = await asyncpg.connect(dsn_of(dsn, database=database), timeout=10)
    try:
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for service in services:
            role = role_of(service)
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{service}" AUTHORIZATION "{role}"')
            await connection.execute(f'REVOKE ALL ON SCHEMA "{service}" FROM PUBLIC')
            await grant_entry(connection, database=database, service=service)
    finally:
        await connection.close()


async def grant_entry(connection: asyncpg.Connection, *, database: str, service: str) -> None:
    """What belongs to the database and is not copied with a template."""
    role = role_of(service)
    await connection.execute(f'GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{role}"')
    await connection.execute(f'ALTER ROLE "{role}" IN DATABASE "{database}" SET search_path = "{service}"')
