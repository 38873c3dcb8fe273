"""Secrets that live in the schema and in its backups: the pepper of the key hashes and the secret of keyed ids."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from jobyard_common.db.connection import Connection, Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.backoff import delays
from jobyard_common.telemetry.logging import get_logger

log = get_logger("secrets")

ENSURE = "INSERT INTO secret (name, value) VALUES ($1, $2), ($3, $4) ON CONFLICT (name) DO NOTHING"
LOAD = "SELECT name, value FROM secret"


class Secrets(NamedTuple):
    """`ids` never rotates: the same key must make the same id for ever."""

    pepper: bytes
    ids: bytes


async def ensure(connection: Connection) -> Secrets:
    """The secrets, made at the first call of all."""
    await connection.execute(ENSURE, "pepper", secrets.token_bytes(32), "ids", secrets.token_bytes(32))
    rows = {row["name"]: bytes(row["value"]) for row in await connection.fetch(LOAD)}
    return Secrets(rows["pepper"], rows["ids"])


async def wait_for(pool: Pool, load: Callable[[Connection], Awaitable[Secrets]]) -> Secrets:
    """The secrets, as soon as the database can be reached: without them no key is checked and no id is made."""
    for pause in delays(first_s=0.2, cap_s=3.0):
        try:
            async with pool.acquire(timeout=5) as connection:
                return await load(connection)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("secrets.database_away", error=str(error)[:200])
            await asyncio.sleep(pause)
    raise AssertionError("delays never end")
