"""The outbox: records written in the transaction of the change they tell of, published afterwards, then deleted.

No cursor, no notification, no Kafka transaction, and nothing open over a send. Order per key holds because the
transactions that change one aggregate exclude each other, and one relay at a time owns a shard of the buckets (an
advisory lock that dies with its connection). A relay that is killed between publishing and deleting publishes again:
readers know events by their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.connection import Connection, Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.publisher import OutRecord, Publisher, PublishFailed, Sent, key_bytes
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger
from jobyard_common.telemetry.tracing import Span, Tracer, send_span

BUCKETS = 64
SHARDS = 4
PUT = """
INSERT INTO outbox (bucket, topic, key, value, headers)
SELECT * FROM unnest($1::smallint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[])
"""
TAKE = """
SELECT id, bucket, topic, key, value, headers FROM outbox WHERE bucket % 4 = ANY($1::int[]) ORDER BY id LIMIT $2
"""
DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
BURY = """
WITH gone AS (DELETE FROM outbox WHERE id = $1 RETURNING id, topic, key, value, headers, created_at)
INSERT INTO outbox_dead (id, topic, key, value, headers, reason, created_at)
SELECT id, topic, key, value, headers, $2, created_at FROM gone
"""
log = get_logger("relay")
_headers_out = msgspec.msgpack.Encoder()
_headers_in = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
OnSent = Callable[[Sequence[tuple[OutRecord, Sent]]], None]


def bucket_of(key: str | bytes | None) -> int:
    """The bucket of an aggregate: constant for ever, stored in the row, never computed by a reader."""
    return zlib.crc32(key_bytes(key) or b"") % BUCKETS


def pack_headers(headers: Headers) -> bytes:
    return _headers_out.encode(headers)


async def put(connection: Connection, records: Sequence[OutRecord]) -> None:
    """Add records in the caller's transaction."""
    if records:
        await connection.execute(PUT, *columns(records))


def columns(
    records: Sequence[OutRecord],
) -> tuple[list[int], list[str], list[bytes | None], list[bytes | None], list[bytes]]:
    """Records as the arrays that `PUT` takes."""
    return (
        [bucket_of(record.key) for record in records],
        [record.topic for record in records],
        [key_bytes(record.key) for record in records],
        [record.value for record in records],
        [pack_headers(record.headers) for record in records],
    )


class Relay(Component):
    """Publishes the outbox of one schema. `wake` after each commit saves the wait for the next poll."""

    name = "relay"

    def __init__(
        self,
        pool: Pool,
        publisher: Publisher,
        *,
        tracer: Tracer,
        lock_name: str,
        batch: int = 2000,
        poll_s: float = 1.0,
        on_sent: OnSent | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._pool = pool
        self._publisher = publisher
        self._tracer = tracer
        self._lock_key = zlib.crc32(lock_name.encode()) & 0x7FFFFFFF
        self._batch = batch
        self._poll_s = poll_s
        self._on_sent = on_sent
        self._before_send = before_send
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = False
        self.pending_since: float | None = None

    def wake(self) -> None:
        self._wake.set()

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def drain(self) -> None:
        """Publish what is there, as far as the broker allows."""
        self._draining = True
        self._idle.clear()
        self.wake()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 5.0)

    def check(self) -> Check:
        if self.pending_since is None:
            return Check("ok")
        age = asyncio.get_running_loop().time() - self.pending_since
        return Check("ok") if age < 10 else Check("degraded", f"events wait for {age:.0f} s", critical=False)

    async def _run(self) -> None:
        pauses = delays(first_s=0.2, cap_s=3.0)
        while True:
            try:
                async with self._pool.acquire() as connection:
                    shards = await self._own(connection)
                    if shards:
                        pauses = delays(first_s=0.2, cap_s=3.0)
                        await self._relay(connection, shards)
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("relay.interrupted", error=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(next(pauses))

    async def _own(self, connection: Connection) -> list[int]:
        found = []
        for shard in range(SHARDS):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", self._lock_key, shard):
                found.append(shard)
        return found

    async def _relay(self, connection: Connection, shards: list[int]) -> None:
        """Until the connection fails: the locks are ours exactly as long as it lives."""
        rounds = 0
        while True:
            self._wake.clear()
            rows = await connection.fetch(TAKE, shards, self._batch)
            if rows:
                if not await self._publish(connection, rows):
                    await asyncio.sleep(0.5)
                continue
            self.pending_since = None
            self._idle.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._poll_s)
            rounds += 1
            if rounds % 30 == 0 and len(shards) < SHARDS:
                shards = sorted(set(shards) | set(await self._own(connection)))

    async def _publish(self, connection: Connection, rows: Sequence[Any]) -> bool:
        """Publish a batch and delete what was acknowledged; False when something has to be tried again."""
        if self.pending_since is None:
            self.pending_since = asyncio.get_running_loop().time()
        if self._before_send is not None:
            await self._before_send()
        spans: list[Span] = []
        records = []
        for row in rows:
            headers, span = send_span(self._tracer, row["topic"], row["key"], _headers_in.decode(row["headers"]))
            if span is not None:
                spans.append(span)
            records.append(OutRecord(row["topic"], row["key"], row["value"], headers))
        answers = await self._publisher.send_many(records)
        for span in spans:
            span.end()
        done, stuck = [], 0
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, Sent):
                done.append(row["id"])
            elif answer.permanent:
                log.error("relay.record_refused", topic=row["topic"], key=repr(row["key"]), error=str(answer))
                await connection.execute(BURY, row["id"], str(answer))
            else:
                stuck += 1
        if done:
            await connection.execute(DELETE, done)
        if stuck:
            first = next(answer for answer in answers if isinstance(answer, PublishFailed))
            log.warning("relay.unacknowledged", records=stuck, error=str(first))
        elif self._on_sent is not None:
            self._on_sent([(r, a) for r, a in zip(records, answers, strict=True) if isinstance(a, Sent)])
        return stuck == 0
