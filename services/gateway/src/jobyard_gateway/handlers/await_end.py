"""Wait for the end of one job: by its events, and by asking now and then in case one is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec
from jobyard_common.contracts.jobs import JobEvent
from jobyard_common.contracts.topics import JOBS_EVENTS
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.inbound import Inbound

from jobyard_gateway.domain import views
from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.handlers.live import Follower, Hub
from jobyard_gateway.handlers.read_jobs import JobReader, state_of
from jobyard_gateway.handlers.steer_job import TERMINAL

ASK_EVERY_S = 1.0
AT_ONCE = 10_000


class Waiting:
    """Requests that hold a connection until a job has ended."""

    def __init__(self, hub: Hub, reader: JobReader, *, monotonic: Callable[[], float]) -> None:
        self._hub = hub
        self._reader = reader
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(AT_ONCE)

    def following(self, job_id: str) -> AbstractContextManager[Follower]:
        """Follow the job from before it is submitted."""
        return self._hub.following(job_id)

    async def end_of(self, job_id: str, principal: Principal, *, follower: Follower, wait_s: int) -> bytes | None:
        """The finished job, or None after `wait_s` seconds, at drain, or when too many wait already."""
        if self._slots.locked():
            return None
        deadline = self._monotonic() + wait_s
        async with self._slots:
            while not self._hub.closing.is_set():
                for record in follower.take():
                    if (ended := _end_in(record)) is not None:
                        return ended
                left = deadline - self._monotonic()
                if left <= 0:
                    break
                if await follower.news(timeout_s=min(left, ASK_EVERY_S)) and not follower.missed:
                    continue
                follower.missed = False
                if (ended := await self._asked(job_id, principal)) is not None:
                    return ended
        return None

    async def _asked(self, job_id: str, principal: Principal) -> bytes | None:
        try:
            job = (await self._reader.job(job_id, principal)).body
        except Problem:
            return None
        return job if state_of(job) in TERMINAL else None


def _end_in(record: Inbound) -> bytes | None:
    if record.topic != JOBS_EVENTS.name or record.value is None:
        return None
    try:
        job = bytes(decode(JobEvent, record.value).job)
        return views.with_links(job) if state_of(job) in TERMINAL else None
    except (WireError, ValueError, msgspec.DecodeError):
        return None
