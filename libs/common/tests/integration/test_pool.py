"""What a pool does when a connection comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from jobyard_common.db.pool import create_pool

PID = "SELECT pg_backend_pid()"


def with_pool(dsn: str, story: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        pool = await create_pool(dsn, application_name="pool", max_size=1, **options)
        try:
            await story(pool)
        finally:
            pool.terminate()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_a_failed_user_leaves_no_settings_and_no_locks(database: Any) -> None:
    async def story(pool: Any) -> None:
        pid = await pool.fetchval(PID)
        with pytest.raises(ValueError, match="mine"):
            async with pool.acquire() as connection:
                await connection.execute("SET work_mem = '7MB'")
                await connection.execute("SELECT pg_advisory_lock(1)")
                raise ValueError("mine")
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert await pool.fetchval(held) == 0
        assert await pool.fetchval("SHOW work_mem") != "7MB"
        assert await pool.fetchval(PID) == pid

    with_pool(database.empty("monitor"), story)


def test_an_open_transaction_is_rolled_back(database: Any) -> None:
    async def story(pool: Any) -> None:
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            await connection.execute("CREATE TABLE half_done (n int)")
        assert await pool.fetchval("SELECT to_regclass('half_done')") is None

    with_pool(database.empty("monitor"), story)


def test_a_killed_connection_is_replaced(database: Any) -> None:
    dsn = database.empty("monitor")

    async def story(pool: Any) -> None:
        pid = await pool.fetchval(PID)
        killer = await asyncpg.connect(dsn)
        try:
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                async with pool.acquire() as connection:
                    asleep = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
                    await asyncio.sleep(0.1)
                    await killer.execute("SELECT pg_terminate_backend($1)", pid)
                    await asleep
        finally:
            await killer.close()
        assert await pool.fetchval(PID) != pid

    with_pool(dsn, story)


@pytest.mark.parametrize(("fixed", "plans"), [(True, (3, 0)), (False, (0, 3))])
def test_plans_are_fixed_where_asked_for(database: Any, fixed: bool, plans: tuple[int, int]) -> None:
    async def story(pool: Any) -> None:
        for number in range(3):
            assert await pool.fetchval("SELECT $1::int + 1 AS mine", number) == number + 1
        made = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%AS mine'"
        assert tuple(await pool.fetchrow(made)) == plans

    with_pool(database.empty("monitor"), story, fixed_plans=fixed)
