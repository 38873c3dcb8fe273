"""Roles of a deployment on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from jobyard_common.db import roles
from jobyard_common.db.roles import SERVICES, create_roles, role_of


def dsn_of(dsn: str, *, database: str, user: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"))


@pytest.fixture
def database(servers: Any) -> Iterator[str]:
    name = f"test_roles_{secrets.token_hex(5)}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(servers.postgres)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run(f'CREATE DATABASE "{name}"'))
    yield name
    asyncio.run(run(f'DROP DATABASE "{name}" WITH (FORCE)'))


def test_each_service_has_its_schema_and_no_other(servers: Any, database: str) -> None:
    async def go() -> None:
        admin = dsn_of(servers.postgres, database=database, user="jobyard")
        for _ in range(2):
            await create_roles(admin, passwords=dict.fromkeys(SERVICES))
        for service in SERVICES:
            connection = await asyncpg.connect(dsn_of(admin, database=database, user=role_of(service)))
            try:
                assert await connection.fetchval("SHOW search_path") == service
                await connection.execute("CREATE TABLE mine (n int)")
                assert await connection.fetchval("SELECT to_regclass($1)::text", f"{service}.mine") == "mine"
                for other in set(SERVICES) - {service}:
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(f"CREATE TABLE {other}.yours (n int)")
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute("CREATE TABLE public.ours (n int)")
            finally:
                await connection.close()

    asyncio.run(go())


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("JOBYARD_ADMIN_DSN", raising=False)
    monkeypatch.setenv("JOBYARD_GATEWAY_PASSWORD", "x")
    assert roles.main() == 2
    told = capsys.readouterr().err
    assert "JOBYARD_ADMIN_DSN" in told
    assert "set JOBYARD_GATEWAY_PASSWORD" not in told
