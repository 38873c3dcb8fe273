"""Follow every job of a tenant: from now on, or from where a reader stopped as far as the topic reaches.

What comes live is coalesced by job. A reader that was away, that could not keep up, or over whom the live tail lost
its connection reads the topic itself up to its end, at its own pace, and then goes on live.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import msgspec
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.telemetry import metrics

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.domain.tenant_feed import Feed, Wanted, change_of, position_of, text_of, wanted
from jobyard_gateway.handlers.follow_job import HELLO, MOST_OF_A_TENANT, PING_S
from jobyard_gateway.handlers.live import FeedFollower, Hub
from jobyard_gateway.handlers.submit_job import refused
from jobyard_gateway.outbound.event_log import EventLog, EventsAway, Reading

Pairs = Sequence[tuple[str, str]]
CHANGE_EVENT, GAP_EVENT = "job.state", "stream.gap"
LATEST_OF_A_PARTITION = 200
MOST_LOOKED_AT = 20_000
TRY_AGAIN_S = 1.0


class TenantStreams:
    def __init__(self, hub: Hub, log: EventLog, *, monotonic: Callable[[], float]) -> None:
        self._hub = hub
        self._log = log
        self._monotonic = monotonic
        self._open: dict[str, int] = {}

    async def open(self, principal: Principal, filters: Pairs, *, last_event_id: str | None) -> AsyncIterator[bytes]:
        """The frames of a stream without an end. An id that is none of ours means from now on.

        Raises:
            Problem: unavailable, or rate_limited when the tenant holds too many streams.
        """
        if self._open.get(principal.tenant, 0) >= MOST_OF_A_TENANT:
            raise Problem("rate_limited", f"More than {MOST_OF_A_TENANT} open streams.", headers={"Retry-After": "5"})
        after = None
        if last_event_id:
            after = position_of(last_event_id, partitions=await self._partitions())
        return self._frames(principal.tenant, wanted(filters), after)

    async def page(self, principal: Principal, filters: Pairs, *, cursor: str | None, limit: int) -> bytes:
        """Events after `cursor`, or the newest; `next_cursor` always tells where to go on.

        Raises:
            Problem: unavailable, or validation_failed for a cursor that is none of ours.
        """
        after = None
        if cursor is not None:
            after = position_of(cursor, partitions=await self._partitions())
            if after is None:
                raise refused([Fault("cursor", "Not a cursor of this list.")])
        feed = Feed(principal.tenant, wanted(filters))
        try:
            async with self._log.opened() as reading:
                rows, more = await _page(reading, feed, after, limit=limit)
        except EventsAway:
            raise _away() from None
        return msgspec.json.encode({"data": rows, "next_cursor": text_of(feed.position), "has_more": more})

    async def _partitions(self) -> int:
        try:
            return await self._log.partitions()
        except EventsAway:
            raise _away() from None

    async def _frames(self, tenant: str, wants: Wanted, after: list[int] | None) -> AsyncIterator[bytes]:
        self._open[tenant] = self._open.get(tenant, 0) + 1
        metrics.STREAMS_OPEN.inc()
        try:
            with self._hub.feeding(Feed(tenant, wants)) as follower:
                yield HELLO
                follower.feed.behind = True
                if after is not None:
                    follower.feed.begin(after)
                async for part in self._parts(follower):
                    yield part
        finally:
            metrics.STREAMS_OPEN.dec()
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    async def _parts(self, follower: FeedFollower) -> AsyncIterator[bytes]:
        feed, said = follower.feed, self._monotonic()
        while not self._hub.closing.is_set():
            if feed.behind:
                try:
                    async with aclosing(self._caught_up(feed)) as parts:
                        async for part in parts:
                            yield part
                            said = self._monotonic()
                except EventsAway:
                    feed.behind = True
            while (taken := feed.take()) is not None:
                yield _frame(CHANGE_EVENT, *taken)
                said = self._monotonic()
            quiet_s = self._monotonic() - said
            if quiet_s >= PING_S:
                self._hub.passed(follower)
                yield _ping(feed)
                said, quiet_s = self._monotonic(), 0.0
            await follower.news(timeout_s=TRY_AGAIN_S if feed.behind else PING_S - quiet_s)

    async def _caught_up(self, feed: Feed) -> AsyncGenerator[bytes, None]:
        """What the topic holds from the feed's position to its end; the live tail brings what comes after."""
        async with self._log.opened() as reading:
            # What comes from here on waits in the feed; what the tail misses makes it `behind` again.
            feed.restart()
            begins, ends = await reading.bounds()
            if not feed.position:
                feed.begin(ends)
                return
            if any(at < begin for at, begin in zip(feed.position, begins, strict=True)):
                feed.passed(begins)
                yield _frame(GAP_EVENT, text_of(feed.position), b"{}")
            replay = Feed(feed.tenant, feed.wants)
            replay.begin([min(pair) for pair in zip(feed.position, ends, strict=True)])
            seen, said = list(replay.position), self._monotonic()
            async for records in reading.batches(replay.position, ends):
                _read(records, replay, seen)
                while (taken := replay.take()) is not None:
                    yield _frame(CHANGE_EVENT, *taken)
                    said = self._monotonic()
                replay.passed(seen)
                feed.position = list(replay.position)
                if self._monotonic() - said > PING_S:
                    yield _ping(replay)
                    said = self._monotonic()
            feed.begin(ends)


async def _page(reading: Reading, feed: Feed, after: list[int] | None, *, limit: int) -> tuple[list[msgspec.Raw], bool]:
    begins, ends = await reading.bounds()
    start = after if after is not None else [end - LATEST_OF_A_PARTITION for end in ends]
    feed.begin([min(end, max(at, begin)) for at, begin, end in zip(start, begins, ends, strict=True)])
    rows: list[msgspec.Raw] = []
    seen = list(feed.position)
    looked_at = 0
    async for records in reading.batches(feed.position, ends):
        looked_at += len(records)
        _read(records, feed, seen)
        while len(rows) < limit and (taken := feed.take()) is not None:
            rows.append(msgspec.Raw(b'{"id":"' + taken[0].encode() + b'",' + taken[1][1:]))
        if len(feed) or looked_at >= MOST_LOOKED_AT:
            break
    if not len(feed):
        feed.passed(seen)
    return rows, any(at < end for at, end in zip(feed.position, ends, strict=True))


def _read(records: Sequence[Inbound], feed: Feed, seen: list[int]) -> None:
    for record in records:
        change = change_of(record)
        if change is not None and change.tenant == feed.tenant:
            feed.add(change)
        seen[record.partition] = record.offset + 1


def _ping(feed: Feed) -> bytes:
    """With an id, so that whoever resumes need not look again at what it did not want."""
    return f"id: {text_of(feed.position)}\n: ping\n\n".encode() if feed.position else b": ping\n\n"


def _frame(event: str, place: str, data: bytes) -> bytes:
    return f"id: {place}\nevent: {event}\ndata: ".encode() + data.replace(b"\n", b"\ndata: ") + b"\n\n"


def _away() -> Problem:
    return Problem("unavailable", "The events can't be read at the moment.")
