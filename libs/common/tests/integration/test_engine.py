"""The engine for administration and the pool understand the same addresses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jobyard_common.db.engine import make_engine
from jobyard_common.db.pool import create_pool
from sqlalchemy import text


@pytest.mark.parametrize("options", ["", "sslmode=disable", "sslmode=prefer&application_name=other"])
def test_what_the_pool_connects_to_the_engine_does_too(database: Any, options: str) -> None:
    dsn = database.empty("monitor")
    dsn += ("&" if "?" in dsn else "?") + options if options else ""

    async def story() -> None:
        pool = await create_pool(dsn, application_name="pool", max_size=1)
        engine = make_engine(dsn, application_name="engine")
        try:
            async with engine.connect() as connection:
                told = (await connection.execute(text("SELECT current_database(), current_schema()"))).one()
                name = await connection.scalar(text("SHOW application_name"))
            assert tuple(told) == tuple(await pool.fetchrow("SELECT current_database(), current_schema()"))
            assert name == "engine"
        finally:
            await engine.dispose()
            pool.terminate()

    asyncio.run(asyncio.wait_for(story(), 60))
