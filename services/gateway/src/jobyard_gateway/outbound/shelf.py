"""Valkey, which may be away at any time: short deadlines, a breaker, and answers that say "don't know".

Writes that nobody waits for are collected and sent in one pipeline; reads have a deadline of 50 ms.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import redis.asyncio as redis
from jobyard_common.contracts.telemetry import Check
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger
from redis.exceptions import RedisError

log = get_logger("valkey")
DEADLINE_S = 0.05
OPEN_S = 1.0
FLUSH_S = 0.02
MOST_WAITING = 20_000
_FAULTS = (RedisError, OSError, TimeoutError)


class Unknown(Exception):
    """Valkey did not answer in time; ask somebody else."""


class Shelf(Component):
    """Keys with a time to live. Without a URL every read is `Unknown` and every write is dropped."""

    name = "valkey"

    def __init__(self, url: str | None, *, prefix: str, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._client: Any = None
        if url:
            self._client = redis.Redis.from_url(
                url, socket_timeout=1.0, socket_connect_timeout=0.5, max_connections=32, decode_responses=False
            )
        self._prefix = prefix.encode()
        self._monotonic = monotonic
        self._closed_until = 0.0
        self._waiting: deque[tuple[bytes, bytes, int]] = deque(maxlen=MOST_WAITING)
        self._wake = asyncio.Event()

    async def start(self) -> None:
        if self._client is not None:
            self.spawn(self._flush(), name="flush")

    async def stop(self) -> None:
        await super().stop()
        if self._client is not None:
            await self._client.aclose()

    def check(self) -> Check:
        if self._client is None:
            return Check("ok", "not configured", critical=False)
        if self._monotonic() < self._closed_until:
            return Check("degraded", "Valkey is away; everything still works, some of it slower", critical=False)
        return Check("ok")

    def put_later(self, key: str, value: bytes, *, ttl_s: int) -> None:
        """Keep `value` soon; nobody waits and nobody is told of a failure."""
        if self._client is not None:
            self._waiting.append((self._prefix + key.encode(), value, ttl_s))
            self._wake.set()

    async def get(self, key: str) -> bytes | None:
        """Raises Unknown."""
        found: bytes | None = await self._ask(lambda client: client.get(self._prefix + key.encode()))
        return found

    async def reserve(self, key: str, value: bytes, *, ttl_s: int) -> bytes | None:
        """Keep `value` unless the key is taken; returns what was there before. Raises Unknown."""
        found: bytes | None = await self._ask(
            lambda client: client.set(self._prefix + key.encode(), value, nx=True, get=True, ex=ttl_s)
        )
        return found

    async def _ask(self, call: Callable[[Any], Any]) -> Any:
        if self._client is None or self._monotonic() < self._closed_until:
            raise Unknown
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await call(self._client)
        except _FAULTS as error:
            self._away(error)
            raise Unknown from None

    def _away(self, error: BaseException) -> None:
        if self._monotonic() >= self._closed_until:
            log.warning("valkey.away", error=f"{type(error).__name__}: {error}"[:200])
        self._closed_until = self._monotonic() + OPEN_S

    async def _flush(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(FLUSH_S)
            self._wake.clear()
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not batch or self._monotonic() < self._closed_until:
                continue
            try:
                async with asyncio.timeout(1.0), self._client.pipeline(transaction=False) as pipe:
                    for key, value, ttl_s in batch:
                        pipe.set(key, value, ex=ttl_s)
                    await pipe.execute()
            except _FAULTS as error:
                self._away(error)
