"""A database per test, cloned from a template that is migrated once per version of the migrations."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

import asyncpg
from jobyard_common.db import migrate

from jobyard_local.schemas import dsn_of, ensure_database, ensure_roles, ensure_schemas, grant_entry, role_of


class Databases:
    """Makes databases on one server and remembers them for the end of the test."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._made: list[str] = []

    async def clone(self, service: str, *, package: str) -> str:
        """A database with the service's schema at head; returns the DSN of the service's role."""
        template = await self._template(service, package=package)
        return await self._make(service, template=template)

    async def empty(self, service: str) -> str:
        """A database with the service's schema and nothing in it."""
        await ensure_roles(self._dsn)
        name = self._name(service)
        await ensure_database(self._dsn, database=name)
        await ensure_schemas(self._dsn, database=name, services=[service])
        return dsn_of(self._dsn, database=name, user=role_of(service))

    async def drop_all(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            for name in self._made:
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()
        self._made.clear()

    def _name(self, service: str) -> str:
        name = f"test_{service}_{secrets.token_hex(6)}"
        self._made.append(name)
        return name

    async def _make(self, service: str, *, template: str) -> str:
        name = self._name(service)
        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            await grant_entry(connection, database=name, service=service)
        finally:
            await connection.close()
        return dsn_of(self._dsn, database=name, user=role_of(service))

    async def _template(self, service: str, *, package: str) -> str:
        folder = migrate.versions_folder(package)
        text = b"\0".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
        name = f"template_{service}_{hashlib.sha256(text).hexdigest()[:12]}"
        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            if await _ready(connection, name):
                return name
            await connection.execute("SELECT pg_advisory_lock(hashtext($1))", name, timeout=120)
            if not await _ready(connection, name):
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                await ensure_roles(self._dsn)
                await ensure_database(self._dsn, database=name)
                await ensure_schemas(self._dsn, database=name, services=[service])
                dsn = dsn_of(self._dsn, database=name, user=role_of(service))
                await asyncio.to_thread(migrate.migrate, dsn, package=package, schema=service)
                await connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false IS_TEMPLATE true')
        finally:
            await connection.close()
        return name


async def _ready(connection: asyncpg.Connection, name: str) -> bool:
    """A template is complete once it is closed to connections."""
    return bool(await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1 AND NOT datallowconn", name))
