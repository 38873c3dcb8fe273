"""One role and one schema per service in one database; PostgreSQL itself refuses what crosses them.

`python -m jobyard_common.db.roles` does it where a deployment brings an empty server: JOBYARD_ADMIN_DSN names the
database and a role that may create roles, JOBYARD_GATEWAY_PASSWORD and so on the passwords. It may run again at any
time; passwords then become the given ones.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

import asyncpg

from jobyard_common.db.connection import Connection

SERVICES = ("gateway", "executor", "files", "monitor")
LOCK = "SELECT pg_advisory_xact_lock(hashtext('jobyard roles'))"


def role_of(service: str) -> str:
    return f"jobyard_{service}"


async def create_roles(admin_dsn: str, *, passwords: Mapping[str, str | None]) -> None:
    """Make or renew the role and the schema of each service in `passwords`; None leaves a role without password."""
    connection = await asyncpg.connect(admin_dsn, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute(LOCK)
            database = await connection.fetchval("SELECT current_database()")
            await _run(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)
            await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for service, password in passwords.items():
                await _create(connection, service, password=password, database=database)
    finally:
        await connection.close()


async def _create(connection: Connection, service: str, *, password: str | None, database: str) -> None:
    role = role_of(service)
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
        await _run(connection, "CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE", role)
    if password is not None:
        await _run(connection, "ALTER ROLE %I PASSWORD %L", role, password)
    await _run(connection, "CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I", service, role)
    await _run(connection, "REVOKE ALL ON SCHEMA %I FROM PUBLIC", service)
    await _run(connection, "GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I", database, role)
    await _run(connection, "ALTER ROLE %I IN DATABASE %I SET search_path = %I", role, database, service)


async def _run(connection: Connection, statement: str, *values: str) -> None:
    """A statement that takes no parameters, with its values quoted by the server."""
    quoted = await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, list(values))
    await connection.execute(quoted)


def main() -> int:
    names = {"dsn": "JOBYARD_ADMIN_DSN"} | {name: f"JOBYARD_{name.upper()}_PASSWORD" for name in SERVICES}
    if missing := [variable for variable in names.values() if not os.environ.get(variable)]:
        print(f"set {', '.join(missing)}\n\n{__doc__}", file=sys.stderr)
        return 2
    passwords = {service: os.environ[names[service]] for service in SERVICES}
    asyncio.run(create_roles(os.environ[names["dsn"]], passwords=passwords))
    print(f"roles and schemas: {', '.join(SERVICES)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
