"""One pool a service, with deadlines on everything that could wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import asyncpg
from asyncpg.pool import Pool, PoolAcquireContext

SETTINGS = {
    "timezone": "UTC",
    "jit": "off",
    # Prepared statements guess LIMIT $1 and may choose a scan over the whole table.
    "plan_cache_mode": "force_custom_plan",
    # A frozen process must not hold its successor for longer than this.
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "10000",
}
FIXED_PLANS = {
    # Planning took as long as running the statements of a batch. A plan that is kept must not depend on how large a
    # table was when it was made: what is left to choose is an index.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
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
    fixed_plans: bool = False,
) -> asyncpg.Pool:
    """A pool that connects when it is first used, so that a service starts while its database is away.

    `admit` looks at every new connection before it is used; one for which it raises is closed. With `fixed_plans` each
    statement is planned once a connection, for any parameters: for statements that find their rows by keys, never for
    filters chosen by a caller.

    A connection is given back without a round trip, unless its user failed or was cancelled: whoever changes settings
    or takes a lock that outlives its transaction must not leave in good order.
    """
    return await _Pool(
        dsn,
        connection_class=_Connection,
        record_class=asyncpg.Record,
        init_size=None,
        min_size=0,
        max_size=max_size,
        max_queries=50_000,
        loop=None,
        connect=None,
        setup=None,
        max_inactive_connection_lifetime=120,
        command_timeout=command_timeout_s,
        timeout=5,
        init=None if admit is None else partial(_admit, admit=admit),
        reset=_reset,
        server_settings={**SETTINGS, **(FIXED_PLANS if fixed_plans else {}), "application_name": application_name},
    )


async def _admit(connection: Any, *, admit: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.timeout(ADMIT_S):
            await admit(connection)
    except BaseException:
        # The pool would say good-bye and wait for an answer.
        connection.terminate()
        raise


class _Connection(asyncpg.Connection):
    __slots__ = ("suspect",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.suspect = False


class _Use(PoolAcquireContext):
    __slots__ = ()

    async def __aexit__(self, *failure: object) -> None:
        held = getattr(self.connection, "_con", None)
        if held is not None and any(failure):
            held.suspect = True
        await super().__aexit__(*failure)


class _Pool(Pool):
    def acquire(self, *, timeout: float | None = None) -> Any:
        return _Use(self, timeout)


async def _reset(connection: Any) -> None:
    """Undo settings and locks, and see whether the connection still answers, where there is reason to."""
    if connection.suspect:
        await connection.execute(connection.get_reset_query(), timeout=RESET_S)
        connection.suspect = False
