"""Valkey, which may be away at any time: short deadlines, a breaker, and answers that say "don't know".

Writes that nobody waits for are collected and sent in one pipeline; reads have a deadline of 50 ms.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
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
AT_ONCE = 500
CONNECTIONS = 32
ASKS = CONNECTIONS - 2
"""Reads at once; a burst of more waits its turn, within its deadline, and says nothing about Valkey."""
KEEP = "for n, key in ipairs(KEYS) do redis.call('SET', key, ARGV[n + 1], 'EX', ARGV[1]) end"
_FAULTS = (RedisError, OSError, TimeoutError)


class Unknown(Exception):
    """Valkey did not answer in time; ask somebody else."""


class Shelf(Component):
    """Keys with a time to live. Without a URL every read is `Unknown` and every write is dropped."""

    name = "valkey"

    def __init__(
        self, url: str | None, *, prefix: str, monotonic: Callable[[], float], deadline_s: float = DEADLINE_S
    ) -> None:
        super().__init__()
        self._client: Any = None
        if url:
            self._client = redis.Redis.from_url(
                url, socket_timeout=1.0, socket_connect_timeout=0.5, max_connections=CONNECTIONS, decode_responses=False
            )
        self._prefix = prefix.encode()
        self._monotonic = monotonic
        self._deadline_s = deadline_s
        self._closed_until = 0.0
        self._turns = asyncio.Semaphore(ASKS)
        self._scripts: dict[str, Any] = {}
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

    def put_all_later(self, rows: Iterable[tuple[str, bytes]], *, ttl_s: int) -> None:
        """The same for many keys; without a Valkey the rows are not even looked at."""
        if self._client is not None:
            self._waiting.extend((self._prefix + key.encode(), value, ttl_s) for key, value in rows)
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

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """What a script answers. Raises Unknown."""
        named = [self._prefix + key.encode() for key in keys]
        return await self._ask(lambda client: self._script(client, script)(keys=named, args=arguments))

    def _script(self, client: Any, text: str) -> Any:
        found = self._scripts.get(text)
        if found is None:
            found = self._scripts[text] = client.register_script(text)
        return found

    async def _ask(self, call: Callable[[Any], Any]) -> Any:
        if self._client is None or self._monotonic() < self._closed_until:
            raise Unknown
        asked = False
        try:
            async with asyncio.timeout(self._deadline_s), self._turns:
                asked = True
                return await call(self._client)
        except _FAULTS as error:
            if asked:
                self._away(error)
            raise Unknown from None

    async def _keep(self, rows: list[tuple[bytes, bytes, int]], ttl_s: int) -> None:
        """One command for all: packing and answering each apart costs several times as much on both sides."""
        async with asyncio.timeout(1.0):
            keep = self._script(self._client, KEEP)
            await keep(keys=[row[0] for row in rows], args=[ttl_s, *(row[1] for row in rows)])

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
                for ttl_s in {row[2] for row in batch}:
                    rows = [row for row in batch if row[2] == ttl_s]
                    for start in range(0, len(rows), AT_ONCE):
                        await self._keep(rows[start : start + AT_ONCE], ttl_s)
            except _FAULTS as error:
                self._away(error)
