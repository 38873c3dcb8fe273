"""Commands that Kafka has not taken yet."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from jobyard_common.contracts.envelope import Headers
from jobyard_common.db.connection import Pool
from jobyard_common.db.deadline import within
from jobyard_common.messaging import outbox
from jobyard_common.messaging.publisher import OutRecord

WAITING = "SELECT 1 FROM outbox WHERE key = $1 LIMIT 1"
SUBMIT = "SELECT value, headers FROM outbox WHERE key = $1 AND topic = $2 ORDER BY id LIMIT 1"
SUBMITS = "SELECT DISTINCT ON (key) key, value FROM outbox WHERE key = ANY($1::bytea[]) AND topic = $2 ORDER BY key, id"
_headers = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


async def put(pool: Pool, records: Sequence[OutRecord], *, timeout_s: float) -> None:
    """Commit the records; durable when this returns."""
    await within(pool, lambda connection: outbox.put(connection, records), timeout_s=timeout_s)


async def holds(pool: Pool, key: str, *, timeout_s: float) -> bool:
    """Whether something of this aggregate still waits here."""
    found = await within(pool, lambda connection: connection.fetchval(WAITING, key.encode()), timeout_s=timeout_s)
    return found is not None


async def firsts(pool: Pool, keys: Sequence[str], *, topic: str, timeout_s: float) -> dict[str, bytes]:
    """The oldest waiting record of each of these aggregates that has one."""
    wanted = [key.encode() for key in keys]
    rows = await within(pool, lambda connection: connection.fetch(SUBMITS, wanted, topic), timeout_s=timeout_s)
    return {bytes(row["key"]).decode(): bytes(row["value"]) for row in rows}


async def first(pool: Pool, key: str, *, topic: str, timeout_s: float) -> tuple[bytes, Headers] | None:
    """The oldest waiting record of this aggregate."""
    row = await within(pool, lambda connection: connection.fetchrow(SUBMIT, key.encode(), topic), timeout_s=timeout_s)
    return None if row is None else (bytes(row["value"]), _headers.decode(row["headers"]))
