"""The migrations of schedules, bulk operations and dead letters go down and up again."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["0003_schedules", "0005_operations"])
def test_a_migration_goes_down_and_up_again(play: Callable[[Any], None], name: str) -> None:
    migration = import_module(f"jobyard_executor.migrations.versions.{name}")

    async def scenario(bench: Any) -> None:
        async def tables() -> set[str]:
            rows = await bench.pool.fetch(
                "SELECT table_name || '.' || column_name FROM information_schema.columns "
                "WHERE table_schema = current_schema()"
            )
            return {row[0] for row in rows}

        before = await tables()
        for statement in migration.DOWN:
            await bench.pool.execute(statement)
        assert len(await tables()) < len(before)
        for statement in migration.UP:
            await bench.pool.execute(statement)
        assert await tables() == before

    play(scenario)
