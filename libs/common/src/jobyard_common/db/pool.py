"""One pool a service, with deadlines on everything that could wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import asyncpg

SETTINGS = {
    "timezone": "UTC",
    "jit": "off",
    # Prepared statements guess LIMIT $1 and may choose a scan over the whole table.
    "plan_cache_mode": "force_custom_plan",
    # A frozen process must not hold its successor for longer than this.
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "10000",
}
ADMIT_S = 5.0
RESET_S = 2.0


async def create_pool(
    dsn: str,
    *,
    application_name: str,
    max_size: int = 8,
    command_timeout_s: float = 30.0,
    admit: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> asyncpg.Pool:
    """A pool that connects when it is first used, so that a service starts while its database is away.

    `admit` looks at every new connection before it is used; one for which it raises is closed. A connection that does
    not answer when it is taken or given back leaves its place to another one soon.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=max_size,
        max_inactive_connection_lifetime=120,
        command_timeout=command_timeout_s,
        timeout=5,
        init=None if admit is None else partial(_admit, admit=admit),
        reset=_reset,
        server_settings={**SETTINGS, "application_name": application_name},
    )


async def _admit(connection: Any, *, admit: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.timeout(ADMIT_S):
            await admit(connection)
    except BaseException:
        # The pool would say good-bye and wait for an answer.
        connection.terminate()
        raise


async def _reset(connection: Any) -> None:
    await connection.execute(connection.get_reset_query(), timeout=RESET_S)
