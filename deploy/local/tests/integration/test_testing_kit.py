"""The kit that other tests stand on: databases are separate, topics exist, roles cannot cross."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from jobyard_local.schemas import dsn_of, ensure_schemas, role_of
from jobyard_local.servers.set import Addresses
from jobyard_local.testing.fixtures import DatabaseFactory


def test_a_database_is_migrated_and_private_to_its_test(database: DatabaseFactory) -> None:
    async def tables(dsn: str) -> set[str]:
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch("SELECT table_schema, table_name FROM information_schema.tables")
            return {row["table_name"] for row in rows if row["table_schema"] == "files"}
        finally:
            await connection.close()

    first, second = database("files"), database("files")
    assert first != second
    assert asyncio.run(tables(first)) == asyncio.run(tables(second)) > {"alembic_version"}


def test_postgres_refuses_another_service_schema(database: DatabaseFactory, servers: Addresses) -> None:
    async def cross() -> None:
        name = urlsplit(database.empty("files")).path[1:]
        await ensure_schemas(servers.postgres, database=name, services=["gateway"])
        owner = await asyncpg.connect(dsn_of(servers.postgres, database=name, user=role_of("files")))
        stranger = await asyncpg.connect(dsn_of(servers.postgres, database=name, user=role_of("gateway")))
        try:
            await owner.execute("CREATE TABLE secret (n int)")
            for statement in ("SELECT * FROM files.secret", "CREATE TABLE files.mine (n int)", "CREATE SCHEMA more"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await stranger.execute(statement)
        finally:
            await owner.close()
            await stranger.close()

    asyncio.run(cross())


def test_topics_exist_under_the_prefix(topic_prefix: str, servers: Addresses) -> None:
    async def names() -> set[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
        await admin.start()
        try:
            return set(await admin.list_topics())
        finally:
            await admin.close()

    assert {f"{topic_prefix}jobs.commands", f"{topic_prefix}jobs.intake.dlt"} <= asyncio.run(names())
