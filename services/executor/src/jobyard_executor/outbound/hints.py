"""Hints between executors: this attempt must stop, now rather than at its worker's next beat.

They travel by Valkey's publish and subscribe, and may be lost: the beat is the guarantee. Without Valkey nothing is
slower than one beat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import redis.asyncio as redis
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger
from redis.exceptions import RedisError

log = get_logger("hints")
MOST_WAITING = 10_000
_FAULTS = (RedisError, OSError, TimeoutError)


class _Hint(msgspec.Struct, array_like=True):
    """Attempts to stop, as (job, fence), and who says so."""

    sender: str
    stops: list[tuple[str, int]]


_decode = msgspec.json.Decoder(_Hint).decode


class Hints(Component):
    """`heard` is called with job and fence of every attempt that another executor wants stopped."""

    name = "hints"

    def __init__(
        self, url: str | None, *, prefix: str, instance: str, heard: Callable[[str, int], None] | None
    ) -> None:
        super().__init__()
        self._url = url
        self._channel = f"{prefix}executor:stops"
        self._instance = instance
        self._heard = heard
        self._client: Any = None
        self._waiting: deque[tuple[str, int]] = deque(maxlen=MOST_WAITING)
        self._wake = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while hints of others arrive."""

    def stop_running(self, job_id: str, fence: int) -> None:
        """Stop an attempt, wherever it runs; never waits, never fails."""
        if self._heard is not None:
            self._heard(job_id, fence)
        if self._url is not None:
            self._waiting.append((job_id, fence))
            self._wake.set()

    async def start(self) -> None:
        if self._url is None:
            return
        self._client = redis.Redis.from_url(self._url, socket_timeout=5.0, socket_connect_timeout=1.0)
        self.spawn(self._publish(), name="publish")
        if self._heard is not None:
            self.spawn(self._listen(self._heard), name="listen")

    async def stop(self) -> None:
        await super().stop()
        if self._client is not None:
            await self._client.aclose()

    async def _publish(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            stops = list(self._waiting)
            self._waiting.clear()
            try:
                await self._client.publish(self._channel, msgspec.json.encode(_Hint(self._instance, stops)))
            except _FAULTS as error:
                log.warning("hints.not_told", error=f"{type(error).__name__}: {error}"[:200])

    async def _listen(self, heard: Callable[[str, int], None]) -> None:
        pauses = delays(first_s=0.5, cap_s=10.0)
        while True:
            try:
                async with self._client.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    pauses = delays(first_s=0.5, cap_s=10.0)
                    while True:
                        message = await subscription.get_message(timeout=4.0)
                        if message is not None:
                            self._take(message, heard)
            except _FAULTS as error:
                log.warning("hints.not_heard", error=f"{type(error).__name__}: {error}"[:200])
            self.listening.clear()
            await asyncio.sleep(next(pauses))

    def _take(self, message: dict[str, Any], heard: Callable[[str, int], None]) -> None:
        if message["type"] == "subscribe":
            self.listening.set()
        if message["type"] != "message":
            return
        with contextlib.suppress(msgspec.DecodeError):
            hint = _decode(message["data"])
            if hint.sender != self._instance:
                for job_id, fence in hint.stops:
                    heard(job_id, fence)
