"""The outbox: records written in the transaction of the change they tell of, published afterwards, then deleted.

No cursor, no notification, no Kafka transaction, and nothing open over a send. Order per key holds because the
transactions that change one aggregate exclude each other, and one relay at a time owns a shard of the buckets (an
advisory lock that dies with its connection). A relay that is killed between publishing and deleting publishes again:
readers know events by their number.

What is published, and in which order, the table alone decides; the records of this process's own transactions stay in
memory until then (`keep`), so that only their numbers are read back. A number that was never committed is never read.
Where a round begins, `relaying.Numbers` knows: no lower than it must, and never above a row that somebody commits late.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import msgspec

from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.connection import Connection, Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent, key_bytes
from jobyard_common.messaging.relaying import Horizon, Numbers, keeps, sort_answers
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.crash import crash
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger
from jobyard_common.telemetry.tracing import Span, Tracer, send_span

BUCKETS = 64
SHARDS = 4
PUT = """
INSERT INTO outbox (bucket, topic, key, value, headers)
SELECT * FROM unnest($1::smallint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[])
"""
TAKE = "SELECT id FROM outbox WHERE id >= $1 AND bucket % 4 = ANY($2::int[]) ORDER BY id LIMIT $3"
TAKE_ALL = "SELECT id FROM outbox WHERE id >= $1 ORDER BY id LIMIT $2"
# The end of a snapshot may lie below transactions that run; a number of one's own lies above all that was given.
HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_xact_id()::text::bigint"
READ = "SELECT id, topic, key, value, headers FROM outbox WHERE id = ANY($1::bigint[])"
# A queue is short and its statistics never true: without this, one guess more is a scan over all dead rows.
BY_INDEX = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"
DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
BURY = """
WITH gone AS (DELETE FROM outbox WHERE id = $1 RETURNING id, topic, key, value, headers, created_at)
INSERT INTO outbox_dead (id, topic, key, value, headers, reason, created_at)
SELECT id, topic, key, value, headers, $2, created_at FROM gone
"""
log = get_logger("relay")
_headers_out = msgspec.msgpack.Encoder()
_headers_in = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
MOST_KEPT = 20_000
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
        self._kept: dict[int, OutRecord] = {}
        self._numbers: Numbers | None = None
        """None while this process does not own all shards: then it cannot account for numbers."""
        self.pending_since: float | None = None

    def wake(self) -> None:
        self._wake.set()

    def keep(self, ids: Sequence[int], records: Sequence[OutRecord]) -> None:
        """Remember records whose rows have these ids, in this order, before or after their commit. Needs no care:
        what is forgotten is read from the table, and what was rolled back is never asked for."""
        if self._numbers is None or not ids:
            return
        self._numbers.note(ids)
        if len(self._kept) + len(ids) > MOST_KEPT:
            self._kept.clear()
            self._numbers.doubt()
        self._kept.update(zip(ids, records, strict=True))

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
                        try:
                            await connection.execute(BY_INDEX)
                            await self._relay(connection, shards)
                        finally:
                            # Its locks and settings are not for whoever would get it next; it may be gone already.
                            with contextlib.suppress(asyncpg.InterfaceError):
                                connection.terminate()
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
        try:
            await self._rounds(connection, shards)
        finally:
            self._forget(0)

    def _forget(self, owned: int) -> None:
        """Begin to know anew. Numbers may come again with another content after a fail-over, which no connection
        survives; and what others relayed until now has gaps that mean nothing here."""
        self._kept.clear()
        self._numbers = Numbers() if keeps(owned, shards=SHARDS) else None

    async def _rounds(self, connection: Connection, shards: list[int]) -> None:
        """A round begins where `Numbers` says; once a poll at the beginning, whatever happened."""
        self._forget(len(shards))
        polls, clock, from_start_at = 0, asyncio.get_running_loop().time, 0.0
        while True:
            self._wake.clear()
            full = self._numbers is None or clock() - from_start_at > self._poll_s
            if full:
                from_start_at = clock()
                await self._look(connection)
            found = await self._take(connection, shards, full=full)
            if found:
                if not await self._publish(connection, found):
                    if self._numbers is not None:
                        self._numbers.doubt()
                    await asyncio.sleep(0.5)
                continue
            if full:
                self.pending_since = None
                self._idle.set()
            try:
                await asyncio.wait_for(self._wake.wait(), 0.0 if self._draining and not full else self._poll_s)
            except TimeoutError:
                from_start_at = 0.0
                polls += 1
                if polls % 30 == 0 and len(shards) < SHARDS:
                    more = await self._own(connection)
                    if more:
                        shards = sorted({*shards, *more})
                        self._forget(len(shards))

    async def _look(self, connection: Connection) -> None:
        """Once a poll, and only if a number is open: which transactions have ended since the last look."""
        numbers = self._numbers
        if numbers is not None and numbers.is_open(self._kept):
            top = numbers.top
            oldest, following = (await connection.fetch(HORIZON))[0]
            numbers.look(Horizon(oldest, following), top=top)

    async def _take(self, connection: Connection, shards: list[int], *, full: bool) -> list[int]:
        """The numbers of this round."""
        numbers = self._numbers
        if numbers is None:
            return [row[0] for row in await connection.fetch(TAKE, 0, shards, self._batch)]
        first = 0 if full else numbers.begins(self._kept)
        found = [row[0] for row in await connection.fetch(TAKE_ALL, first, self._batch)]
        for number in numbers.looked(found, self._kept, whole=len(found) < self._batch):
            del self._kept[number]
        return found

    async def _publish(self, connection: Connection, ids: list[int]) -> bool:
        """Publish a batch and delete what was acknowledged; False when something has to be tried again."""
        if self.pending_since is None:
            self.pending_since = asyncio.get_running_loop().time()
        if self._before_send is not None:
            await self._before_send()
        stored = await self._records(connection, ids)
        ids = list(stored)
        spans: list[Span] = []
        records = list(stored.values())
        if self._tracer.exporting:
            records = []
            for record in stored.values():
                headers, span = send_span(self._tracer, record.topic, record.key, record.headers)
                if span is not None:
                    spans.append(span)
                    record = OutRecord(record.topic, record.key, record.value, headers)
                records.append(record)
        answers = await self._publisher.send_many(records)
        crash("K12")
        for span in spans:
            span.end()
        answered = sort_answers(ids, answers)
        for number, why in answered.refused:
            log.error("relay.record_refused", topic=stored[number].topic, key=repr(stored[number].key), error=why)
            await connection.execute(BURY, number, why)
        if answered.done:
            await connection.execute(DELETE, answered.done)
            for number in answered.done:
                self._kept.pop(number, None)
        if answered.failed:
            log.warning("relay.unacknowledged", records=len(answered.failed), error=str(answered.failed[0]))
            return False
        for number, _ in answered.refused:
            self._kept.pop(number, None)
        if self._on_sent is not None:
            self._on_sent([(r, a) for r, a in zip(records, answers, strict=True) if isinstance(a, Sent)])
        if len(answered.done) == len(ids):
            self.pending_since = None
        return True

    async def _records(self, connection: Connection, ids: list[int]) -> dict[int, OutRecord]:
        """By number, in the order of `ids`."""
        kept = self._kept
        missing = [number for number in ids if number not in kept]
        if not missing:
            return {number: kept[number] for number in ids}
        found = {number: kept[number] for number in ids if number in kept}
        for row in await connection.fetch(READ, missing):
            found[row[0]] = OutRecord(row[1], row[2], row[3], _headers_in.decode(row[4]))
        return {number: found[number] for number in ids if number in found}
