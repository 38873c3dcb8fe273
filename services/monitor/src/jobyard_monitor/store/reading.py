"""A connection for a reader: read-only, with a deadline, and with faults that a reader can act on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from jobyard_common.db.connection import Connection, Pool
from jobyard_common.db.errors import is_retryable


class ReadFailed(Exception):
    """The answer could not be read; drawn as a tree: `TooSlow`, `DatabaseAway`."""


class TooSlow(ReadFailed):
    """The query passed its deadline: it asks for too much at once."""


class DatabaseAway(ReadFailed):
    """PostgreSQL does not answer, or is too busy to."""


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """Raises TooSlow or DatabaseAway for what goes wrong inside."""
    try:
        async with pool.acquire(timeout=2.0) as connection:
            try:
                async with connection.transaction(readonly=True):
                    yield connection
            except (TimeoutError, asyncpg.QueryCanceledError) as error:
                raise TooSlow(str(error)) from error
    except ReadFailed:
        raise
    except Exception as error:
        if is_retryable(error):
            raise DatabaseAway(f"{type(error).__name__}: {error}"[:200]) from error
        raise
