"""The clockwork: what has to happen by itself, each on its own pace, none of it needing a leader."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import asyncpg
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.job import Cause
from jobyard_executor.domain.session import LeaseTerms, Watch
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_timers import LIMIT, fire_timers
from jobyard_executor.handlers.prune import keep_partitions, prune
from jobyard_executor.handlers.reap import reap_orphans, reap_session
from jobyard_executor.handlers.sweep_blocked import SweepBlocked
from jobyard_executor.inbound.chores import Chore
from jobyard_executor.store import sessions

log = get_logger("timers")
TICK_S = 0.2
SWEEP_S = 60.0
KEEP_S = 3600.0


class Timers(Component):
    """`own_session` names the session of this process, which is never reaped by it."""

    name = "timers"

    def __init__(
        self,
        engine: Engine,
        pool: asyncpg.Pool,
        *,
        terms: LeaseTerms,
        identity: sessions.Identity,
        retention: timedelta,
        own_session: Callable[[], str | None],
        more: Sequence[Chore] = (),
    ) -> None:
        super().__init__()
        self._engine = engine
        self._pool = pool
        self._terms = terms
        self._identity = identity
        self._retention = retention
        self._own_session = own_session
        self._more = more
        self._watch = Watch(terms.ttl)
        self._blocked = SweepBlocked(engine, pool)
        self._dice = random.Random()  # noqa: S311 - spreads load

    async def start(self) -> None:
        reap_s = min(5.0, self._terms.ttl.total_seconds() / 6)
        self.spawn(self._every(TICK_S, self._fire), name="fire")
        self.spawn(self._every(reap_s, self._reap), name="reap")
        self.spawn(self._every(SWEEP_S, self._sweep), name="sweep")
        self.spawn(self._every(KEEP_S, self._keep), name="keep")
        for chore in self._more:
            self.spawn(self._every(chore.pause_s, chore.work), name=chore.name)

    async def drain(self) -> None:
        await self.cancel_tasks()

    async def _every(self, pause_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                if not is_retryable(error):
                    raise
                self._watch.blind()
                log.warning("timer.failed", error=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(min(pause_s, 1.0))
            await asyncio.sleep(pause_s * (0.9 + 0.2 * self._dice.random()))

    async def _fire(self) -> None:
        fired = LIMIT
        while fired >= LIMIT:
            fired = await fire_timers(self._engine, self._pool)

    async def _reap(self) -> None:
        async with self._pool.acquire() as connection:
            seen = await sessions.others(connection, self._own_session() or "")
        at = self._engine.clock.monotonic()
        for one in seen:
            dead = self._watch.observe(one.session, beat=one.beat, expired=one.expired, at=at)
            if dead or is_gone(one.identity, here=self._identity):
                await reap_session(self._engine, self._pool, one, cause=Cause.WORKER_LOST)
        self._watch.keep({one.session for one in seen})
        await reap_orphans(self._engine, self._pool, terms=self._terms)

    async def _sweep(self) -> None:
        await self._blocked.work()

    async def _keep(self) -> None:
        await keep_partitions(self._engine, self._pool)
        await prune(self._engine, self._pool, retention=self._retention)


def is_gone(who: sessions.Identity, *, here: sessions.Identity) -> bool:
    """Proof that a process is gone: it ran on this host, and its pid is free or belongs to another process.

    Its workers watch a pipe from it and die within moments of it.
    """
    if who.host != here.host or not who.process_start or not here.process_start:
        return False
    if who.boot_id != here.boot_id:
        return True
    return process_start(who.pid) != who.process_start


def process_start(pid: int) -> int:
    """When a process started, in ticks since boot; 0 if there is none or nobody can tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def own_identity(instance: str) -> sessions.Identity:
    boot_id = ""
    with contextlib.suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return sessions.Identity(instance, socket.gethostname(), boot_id, os.getpid(), process_start(os.getpid()))
