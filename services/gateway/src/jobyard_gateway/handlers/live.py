"""Live updates: one tail a process, handed to whoever follows a job.

A follower that does not keep up loses its oldest records and is told; it then reads what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobyard_common.contracts.topics import JOBS_EVENTS
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.runtime.supervisor import Component

from jobyard_gateway.domain.tenant_feed import Feed, change_of

CAPACITY = 2_000


class Follower:
    """The records of one job, as they come."""

    def __init__(self) -> None:
        self._records: deque[Inbound] = deque()
        self._news = asyncio.Event()
        self.missed = False

    def push(self, record: Inbound) -> None:
        if len(self._records) >= CAPACITY:
            self._records.clear()
            self.missed = True
        self._records.append(record)
        self._news.set()

    def wake(self) -> None:
        self._news.set()

    def take(self) -> list[Inbound]:
        self._news.clear()
        found = list(self._records)
        self._records.clear()
        return found

    async def news(self, *, timeout_s: float) -> bool:
        """Wait for something to take; False when the time ran out."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


class FeedFollower:
    """A reader of everything of a tenant."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def news(self, *, timeout_s: float) -> None:
        """Wait for something new, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()


class Hub:
    """Followers by job id, and feeds by tenant. Records that nobody follows cost one look into a dict."""

    def __init__(self) -> None:
        self._followers: dict[bytes, set[Follower]] = {}
        self._feeds: dict[str, set[FeedFollower]] = {}
        self._next: dict[int, int] = {}
        self.closing = asyncio.Event()
        self.on_interest: Callable[[], None] = lambda: None

    def idle(self) -> bool:
        """Whether nobody follows anything."""
        return not self._followers and not self._feeds

    def wants(self, topic: str, key: bytes | None) -> bool:
        """Whether somebody follows what this record tells of."""
        return key in self._followers or (bool(self._feeds) and topic == JOBS_EVENTS.name)

    def on_records(self, records: list[Inbound]) -> None:
        if self._feeds:
            self._feed(records)
        if not self._followers:
            return
        for record in records:
            for follower in self._followers.get(record.key or b"", ()):
                follower.push(record)

    def on_gap(self) -> None:
        """Records may have passed unseen: everybody reads again."""
        for followers in self._followers.values():
            for follower in followers:
                follower.missed = True
                follower.wake()
        self._next.clear()
        self._behind()

    def close(self) -> None:
        """End every stream now."""
        self.closing.set()
        self.on_gap()

    def _feed(self, records: list[Inbound]) -> None:
        for record in records:
            if record.topic != JOBS_EVENTS.name:
                continue
            if self._next.get(record.partition, record.offset) != record.offset:
                self._behind()
            self._next[record.partition] = record.offset + 1
            change = change_of(record)
            if change is not None:
                for follower in self._feeds.get(change.tenant, ()):
                    if follower.feed.add(change):
                        follower.wake()

    def _behind(self) -> None:
        for followers in self._feeds.values():
            for follower in followers:
                follower.feed.behind = True
                follower.wake()

    def passed(self, follower: FeedFollower) -> None:
        """A feed without anything waiting has passed all that came by."""
        feed = follower.feed
        if not feed.behind:
            feed.passed([self._next.get(partition, 0) for partition in range(len(feed.position))])

    @contextmanager
    def feeding(self, feed: Feed) -> Iterator[FeedFollower]:
        if not self._feeds:
            # Nobody counted while nobody looked.
            self._next.clear()
        follower = FeedFollower(feed)
        self._feeds.setdefault(feed.tenant, set()).add(follower)
        self.on_interest()
        try:
            yield follower
        finally:
            left = self._feeds[feed.tenant]
            left.discard(follower)
            if not left:
                del self._feeds[feed.tenant]

    @contextmanager
    def following(self, job_id: str) -> Iterator[Follower]:
        key, follower = job_id.encode(), Follower()
        self._followers.setdefault(key, set()).add(follower)
        self.on_interest()
        try:
            yield follower
        finally:
            left = self._followers[key]
            left.discard(follower)
            if not left:
                del self._followers[key]


class LiveStreams(Component):
    """Ends the streams before the server waits for its requests."""

    name = "streams"

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self._hub = hub

    async def drain(self) -> None:
        self._hub.close()
