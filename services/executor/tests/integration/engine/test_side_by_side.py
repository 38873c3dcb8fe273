"""Two releases at once: what a migration may change, and messages of other times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest
from jobyard_common.contracts.jobs import Cache, SubmitJob
from jobyard_common.db.migrate import VERSION_TABLE, migrate, versions_folder
from jobyard_common.messaging.inbound import Inbound
from jobyard_executor.testing.runner import ScriptedRunner

Play = Callable[[Any], None]
SERVICES = ("executor", "gateway", "files", "monitor")
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable = 'YES' OR column_default IS NOT NULL AS optional, is_nullable
FROM information_schema.columns WHERE table_schema = $1 AND table_name <> $2
"""


def columns(dsn: str, schema: str) -> dict[tuple[str, str], tuple[str, bool, str]]:
    """Type, whether it may be left out, and whether it may be null, of every column."""

    async def look() -> dict[tuple[str, str], tuple[str, bool, str]]:
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch(COLUMNS, schema, VERSION_TABLE)
            return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}
        finally:
            await connection.close()

    return asyncio.run(look())


@pytest.mark.parametrize("service", SERVICES)
def test_every_migration_leaves_an_older_process_at_work(database: Any, service: str) -> None:
    """What the release before reads and writes is still there, with its type; what is new may be left out."""
    dsn = database.empty(service)
    package = f"jobyard_{service}"
    revisions = [path.name[:4] for path in sorted(versions_folder(package).glob("[0-9]*.py"))]
    before: dict[tuple[str, str], tuple[str, bool, str]] = {}
    for revision in revisions:
        migrate(dsn, package=package, schema=service, revision=revision)
        now = columns(dsn, service)
        tables = {table for table, _ in before}
        for place, (kind, _, nullable) in before.items():
            assert place in now, f"{revision} takes {place} away"
            assert now[place][0] == kind, f"{revision} changes the type of {place}"
            assert nullable == "NO" or now[place][2] == "YES", f"{revision} forbids null in {place}"
        for (table, column), (_, optional, _) in now.items():
            if table in tables and (table, column) not in before:
                assert optional, f"{revision}: an older process cannot insert into {table} without {column}"
        before = now


def test_an_older_release_starts_beside_a_schema_of_the_future(database: Any) -> None:
    dsn = database("executor")

    async def from_the_future() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(f"UPDATE executor.{VERSION_TABLE} SET version_num = '9999'")
        finally:
            await connection.close()

    asyncio.run(from_the_future())
    before = columns(dsn, "executor")
    migrate(dsn, package="jobyard_executor", schema="executor")
    assert columns(dsn, "executor") == before


def changed(record: Inbound, change: Callable[[dict[str, Any]], None]) -> Inbound:
    document = msgspec.json.decode(record.value or b"{}")
    change(document)
    return msgspec.structs.replace(record, value=msgspec.json.encode(document))


def test_members_of_the_future_are_ignored_and_missing_ones_have_their_default(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner())

        def newer(document: dict[str, Any]) -> None:
            document["quantum"] = {"entangled": True}
            document["spec"]["colour"] = ["blue"]
            document["spec"]["retry"]["moon_phase"] = 3
            document["actor"]["badge"] = 7

        def older(document: dict[str, Any]) -> None:
            for name in ("origin_id", "parent_id"):
                document.pop(name)
            needed = {"tool", "tool_version", "isolation", "min_isolation", "timeout_s"}
            document["spec"] = {name: value for name, value in document["spec"].items() if name in needed}

        commands: list[tuple[SubmitJob, Callable[[dict[str, Any]], None]]] = [
            (bench.submit(), newer),
            (bench.submit(cache=Cache("a" * 64, 5.0)), older),
        ]
        records = [changed(bench.record(command), change) for command, change in commands]
        async with bench.pool.acquire() as connection, connection.transaction():
            assert await bench.ingest.apply(connection, records) == []
        bench.ingest.after_commit()
        for command, _ in commands:
            job = await bench.until(command.job_id, "succeeded")
            assert job.attempt == 1
        assert await bench.count("result_cache") == 0

    play(scenario)
