"""The working half of an executor: one leased session that claims jobs, runs them and stores how they ended.

Everything between the commit of a claim and the commit of its end is in `_held`. The beat compares that set with the
leases in the database: what only the database knows is handed back, what only we know is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence

import asyncpg
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.connection import Connection
from jobyard_common.db.deadline import within
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.assignment import Outcome, OutputBatch, Runner, StopReason
from jobyard_executor.domain.job import Cause
from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.claim import Claimer, Held
from jobyard_executor.handlers.context import Engine, nothing
from jobyard_executor.handlers.finish import Ended, finish
from jobyard_executor.handlers.open_session import open_session
from jobyard_executor.handlers.reap import give_back
from jobyard_executor.inbound.reports import pass_on, save_progress
from jobyard_executor.outbound.output_pump import OutputPump
from jobyard_executor.store import sessions

log = get_logger("work")
FINISH_BATCH = 500
POLL_S = 0.25
BACKLOG_PAUSE_S = 0.004
Key = tuple[str, int]


class Work(Component):
    """Claims, dispatches, finishes and beats for the runner of this process."""

    name = "work"

    def __init__(
        self,
        engine: Engine,
        pool: asyncpg.Pool,
        runner: Runner,
        claimer: Claimer,
        pump: OutputPump,
        *,
        terms: LeaseTerms,
        identity: sessions.Identity,
        on_runner_ready: Callable[[], None] = nothing,
        drain_grace_s: float = 20.0,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._pool = pool
        self._runner = runner
        self._claimer = claimer
        self._pump = pump
        self._terms = terms
        self._identity = identity
        self._on_runner_ready = on_runner_ready
        self._grace_s = drain_grace_s
        self._held: dict[Key, Held] = {}
        self._outcomes: deque[Ended] = deque()
        self._finishing: set[Key] = set()
        self._stops: set[Key] = set()
        self._missing: set[Key] = set()
        self._session: str | None = None
        self._trusted_until = 0.0
        self._wake_claim = asyncio.Event()
        self._wake_finish = asyncio.Event()
        self._draining = False
        self._claims_done = asyncio.Event()
        self._dice = random.Random()  # noqa: S311 - spreads polls

    @property
    def session(self) -> str | None:
        return self._session

    def wake(self) -> None:
        self._wake_claim.set()

    def check(self) -> Check:
        if self._session is None:
            return Check("degraded", "no worker session", critical=False)
        return Check("ok")

    def stop_running(self, job_id: str, fence: int) -> None:
        """A cancel was committed: end the attempt, now or as soon as it is dispatched."""
        if (job_id, fence) in self._held:
            self._runner.stop_job(job_id, fence, reason=StopReason.CANCEL)
        else:
            self._stops.add((job_id, fence))

    async def start(self) -> None:
        await self._runner.start(on_outcome=self._on_outcome, on_output=self._on_output)
        self._on_runner_ready()
        self.spawn(self._claim_loop(), name="claim")
        self.spawn(self._finish_loop(), name="finish")
        self.spawn(self._beat_loop(), name="beat")
        self.spawn(save_progress(self._pool, self._held), name="progress")

    # -- claiming

    async def _claim_loop(self) -> None:
        pauses = delays(first_s=0.1, cap_s=2.0)
        while not self._draining:
            self._wake_claim.clear()
            pause = POLL_S * (0.6 + 0.4 * self._dice.random())
            try:
                if await self._claim():
                    pause = BACKLOG_PAUSE_S
                    await asyncio.sleep(pause)
                    continue
                pauses = delays(first_s=0.1, cap_s=2.0)
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("claim.failed", error=f"{type(error).__name__}: {error}"[:200])
                pause = next(pauses)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake_claim.wait(), pause)
        self._claims_done.set()

    async def _claim(self) -> bool:
        """One claim; whether there may be more."""
        if not self._claimer.tools:
            return False
        session = self._session or await self._open()
        free = {isolation: slots for isolation, slots in self._runner.free().items() if slots > 0}
        if not free:
            return False
        found = await self._claimer.claim(session, free=free)
        if found is None:
            self._lose_session("the session has ended")
            return True
        if session != self._session:
            # The session ended while the claim was under way: its leases are somebody else's business.
            return True
        for held in found:
            self._held[held.key] = held
        if found:
            self._runner.dispatch([held.assignment for held in found])
            metrics.JOBS_RUNNING.set(len(self._held))
            self._engine.wake_relay()
            for held in found:
                if held.key in self._stops:
                    self._stops.discard(held.key)
                    self._runner.stop_job(*held.key, reason=StopReason.CANCEL)
        return bool(found)

    async def _open(self) -> str:
        session = new_id("ses")
        began = self._engine.clock.monotonic()
        await open_session(
            self._pool, session, self._identity, self._claimer, ttl=self._terms.ttl, free=self._runner.free()
        )
        self._trusted_until = began + self._terms.trust.total_seconds()
        self._session = session
        log.info("session.opened", session=session)
        return session

    # -- outcomes and outputs, called by the runner on this loop

    def _on_outcome(self, outcome: Outcome) -> None:
        held = self._held.get((outcome.job_id, outcome.fence))
        if held is None:
            metrics.STALE_WRITES.inc()
            return
        self._outcomes.append(Ended(held, outcome))
        self._wake_finish.set()

    def _on_output(self, batches: Sequence[OutputBatch]) -> None:
        pass_on(batches, self._held, self._pump)

    # -- finishing

    async def _finish_loop(self) -> None:
        pauses = delays(first_s=0.1, cap_s=2.0)
        while True:
            await self._wake_finish.wait()
            self._wake_finish.clear()
            while self._outcomes:
                batch = [self._outcomes.popleft() for _ in range(min(len(self._outcomes), FINISH_BATCH))]
                self._finishing = {ended.held.key for ended in batch}
                try:
                    await finish(self._engine, self._pool, batch)
                except Exception as error:
                    if not is_retryable(error):
                        raise
                    log.warning("finish.failed", jobs=len(batch), error=f"{type(error).__name__}: {error}"[:200])
                    self._outcomes.extendleft(reversed(batch))
                    await asyncio.sleep(next(pauses))
                    continue
                finally:
                    self._finishing = set()
                pauses = delays(first_s=0.1, cap_s=2.0)
                for ended in batch:
                    self._held.pop(ended.held.key, None)
                metrics.JOBS_RUNNING.set(len(self._held))
                self._wake_claim.set()

    # -- the session

    async def _beat_loop(self) -> None:
        every = self._terms.beat.total_seconds()
        due = self._engine.clock.monotonic() + every
        while True:
            now = self._engine.clock.monotonic()
            if self._session is not None and now >= self._trusted_until:
                self._lose_session("the database was not reached within the trust window")
            await asyncio.sleep(max(0.05, min(due - now, 0.5, every / 4)))
            if self._session is None or self._engine.clock.monotonic() < due:
                if self._session is None:
                    due = self._engine.clock.monotonic() + every
                continue
            if await self._beat(self._session):
                due = self._engine.clock.monotonic() + every
            else:
                due = self._engine.clock.monotonic() + min(1.0, every / 4)

    async def _beat(self, session: str) -> bool:
        """Beat and reconcile; False if the database did not answer."""
        began = self._engine.clock.monotonic()
        ours = set(self._held) - self._finishing

        async def exchange(connection: Connection) -> None:
            if not await sessions.beat(connection, session, ttl=self._terms.ttl):
                if session == self._session:
                    self._lose_session("the session has expired")
                return
            self._trusted_until = began + self._terms.trust.total_seconds()
            leases = await sessions.leases(connection, session, claim_timeout=self._terms.claim_timeout)
            await self._reconcile(connection, session, ours, leases)

        try:
            await within(self._pool, exchange, timeout_s=5.0)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("beat.failed", error=f"{type(error).__name__}: {error}"[:200])
            return False
        return True

    async def _reconcile(
        self, connection: Connection, session: str, ours: set[Key], leases: list[sessions.LeaseRow]
    ) -> None:
        theirs = {(lease.job_id, lease.fence) for lease in leases}
        for key in ours - theirs:
            if key in self._held and key not in self._finishing and not self._is_ended(key):
                log.warning("lease.gone", job_id=key[0], fence=key[1])
                self._runner.stop_job(*key, reason=StopReason.REVOKED)
                self._forget(key)
        for lease in leases:
            if lease.cancelling and (lease.job_id, lease.fence) in self._held:
                self._runner.stop_job(lease.job_id, lease.fence, reason=StopReason.CANCEL)
        running = self._runner.running()
        silent = {key for key in self._held if key not in running and not self._is_ended(key)} - self._finishing
        lost = silent & self._missing
        self._missing = silent - lost
        unclaimed = {(row.job_id, row.fence) for row in leases if row.old} - set(self._held)
        await self._hand_back(connection, session, lost | unclaimed)
        self._stops.clear()

    def _is_ended(self, key: Key) -> bool:
        return any(ended.held.key == key for ended in self._outcomes)

    async def _hand_back(self, connection: Connection, session: str, keys: set[Key]) -> None:
        if not keys:
            return
        log.warning("leases.handed_back", jobs=len(keys))
        async with connection.transaction():
            fences = dict(keys)
            await give_back(self._engine, connection, fences, session=session, cause=Cause.INTERRUPTED, fences=fences)
        for key in keys:
            self._forget(key)
        self._engine.wake_claim()
        self._engine.wake_relay()

    def _forget(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            held.span.error("lease_lost")
            held.span.end()

    def _lose_session(self, why: str) -> None:
        """Kill everything at once: from now on others may run what we held."""
        log.error("session.lost", session=self._session, reason=why, jobs=len(self._held))
        self._session = None
        for key in list(self._held):
            self._runner.stop_job(*key, reason=StopReason.REVOKED)
            self._forget(key)
        self._outcomes.clear()
        self._wake_claim.set()

    # -- the end

    async def drain(self) -> None:
        """Claim nothing more, let tools end, hand back what did not, and store all of it."""
        self._draining = True
        self._wake_claim.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._claims_done.wait(), 5.0)
        await self._runner.drain(grace_s=self._grace_s)
        await self._until_finished(5.0)
        session, self._session = self._session, None
        if session is None:
            return
        try:
            async with asyncio.timeout(5.0), self._pool.acquire() as connection:
                await self._hand_back(connection, session, set(self._held))
                await connection.execute(sessions.CLOSE, session)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("session.left_open", error=str(error)[:200])

    async def _until_finished(self, timeout_s: float) -> None:
        deadline = self._engine.clock.monotonic() + timeout_s
        while self._engine.clock.monotonic() < deadline:
            if not self._outcomes and not self._finishing:
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await super().stop()
        await self._runner.stop()
