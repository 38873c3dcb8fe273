"""The working half of an executor: one leased session that claims jobs, runs them and stores how they ended.

Four loops around what the session holds (`inbound/holding.py`): claim, finish, beat and progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

import asyncpg
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.connection import Connection
from jobyard_common.db.deadline import within
from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.crash import crash
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.assignment import Outcome, OutputBatch, Runner
from jobyard_executor.domain.session import LeaseTerms, may_start
from jobyard_executor.handlers.claim import Claimer
from jobyard_executor.handlers.context import Engine, nothing
from jobyard_executor.handlers.finish import finish
from jobyard_executor.handlers.open_session import open_session
from jobyard_executor.inbound.holding import Holding
from jobyard_executor.inbound.reports import pass_on, save_progress
from jobyard_executor.outbound.output_pump import OutputPump
from jobyard_executor.store import sessions

log = get_logger("work")
FINISH_BATCH = 500
POLL_S = 0.25
BACKLOG_PAUSE_S = 0.004


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
        may_claim: Callable[[], bool] = lambda: True,
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
        self._may_claim = may_claim
        self._holding = Holding(engine, runner)
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

    def busy_queues(self) -> list[str]:
        """The queue of each job that runs here."""
        return [held.spec.queue for held in self._holding.attempts.values()]

    def wake(self) -> None:
        self._wake_claim.set()

    def check(self) -> Check:
        if self._session is None:
            return Check("degraded", "no worker session", critical=False)
        return Check("ok")

    def stop_running(self, job_id: str, fence: int) -> None:
        """A cancel was committed: end the attempt, now or as soon as it is dispatched."""
        self._holding.cancel((job_id, fence))

    async def start(self) -> None:
        await self._runner.start(on_outcome=self._on_outcome, on_output=self._on_output)
        self._on_runner_ready()
        self.spawn(self._claim_loop(), name="claim")
        self.spawn(self._finish_loop(), name="finish")
        self.spawn(self._beat_loop(), name="beat")
        self.spawn(save_progress(self._pool, self._holding.attempts), name="progress")

    # -- claiming

    async def _claim_loop(self) -> None:
        pauses = delays(first_s=0.1, cap_s=2.0)
        while not self._draining:
            self._wake_claim.clear()
            pause = POLL_S * (0.6 + 0.4 * self._dice.random())
            self._claimer.wait_s = None
            try:
                if await self._claim():
                    pause = BACKLOG_PAUSE_S
                    await asyncio.sleep(pause)
                    continue
                pauses = delays(first_s=0.1, cap_s=2.0)
                if self._claimer.wait_s is not None:
                    pause = min(pause, max(BACKLOG_PAUSE_S, self._claimer.wait_s))
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
        if not self._claimer.tools or not self._may_claim():
            return False
        self._check_trust()
        session = self._session or await self._open()
        free = {isolation: slots for isolation, slots in self._runner.free().items() if slots > 0}
        if not free:
            return False
        found = await self._claimer.claim(session, free=free)
        if found is None:
            self._lose_session("the session has ended")
            return True
        at = self._engine.clock.monotonic()
        if session != self._session or not may_start(
            at=at, trusted_until=self._trusted_until, claims_open=self._may_claim()
        ):
            # The session ended, or we slept, or the database got another life, while the claim was under way: nothing
            # is started, and the leases are given back by the beat or by whoever ends the session.
            return True
        if found:
            crash("K7")
        self._holding.take(found)
        return bool(found)

    def _check_trust(self) -> None:
        """What is claimed under a session that we may not trust any more could not be started."""
        if self._session is not None and self._engine.clock.monotonic() >= self._trusted_until:
            self._lose_session("the database was not reached within the trust window")

    async def _open(self) -> str:
        session = new_id("ses")
        began = self._engine.clock.monotonic()
        await open_session(
            self._pool, session, self._identity, self._claimer, ttl=self._terms.ttl, free=self._runner.free()
        )
        self._trusted_until = self._terms.trusted_until(began)
        self._session = session
        log.info("session.opened", session=session)
        return session

    # -- outcomes and outputs, called by the runner on this loop

    def _on_outcome(self, outcome: Outcome) -> None:
        if self._holding.has_ended(outcome):
            self._wake_finish.set()

    def _on_output(self, batches: Sequence[OutputBatch]) -> None:
        pass_on(batches, self._holding.attempts, self._pump)
        crash("K8")

    # -- finishing

    async def _finish_loop(self) -> None:
        pauses = delays(first_s=0.1, cap_s=2.0)
        while True:
            await self._wake_finish.wait()
            self._wake_finish.clear()
            while self._holding.ends_waiting:
                batch = self._holding.next_ends(FINISH_BATCH)
                try:
                    await finish(self._engine, self._pool, batch)
                except Exception as error:
                    if not is_retryable(error):
                        raise
                    log.warning("finish.failed", jobs=len(batch), error=f"{type(error).__name__}: {error}"[:200])
                    self._holding.not_stored(batch)
                    await asyncio.sleep(next(pauses))
                    continue
                finally:
                    self._holding.finishing = set()
                pauses = delays(first_s=0.1, cap_s=2.0)
                self._holding.stored(batch)
                self._wake_claim.set()

    # -- the session

    async def _beat_loop(self) -> None:
        every = self._terms.beat.total_seconds()
        due = self._engine.clock.monotonic() + every
        while True:
            now = self._engine.clock.monotonic()
            self._check_trust()
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
        ours = self._holding.running()

        async def exchange(connection: Connection) -> None:
            if not await sessions.beat(connection, session, ttl=self._terms.ttl):
                if session == self._session:
                    self._lose_session("the session has expired")
                return
            self._trusted_until = self._terms.trusted_until(began)
            leases = await sessions.leases(connection, session, claim_timeout=self._terms.claim_timeout)
            await self._holding.reconcile(connection, session, ours=ours, leases=leases)

        try:
            await within(self._pool, exchange, timeout_s=5.0)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("beat.failed", error=f"{type(error).__name__}: {error}"[:200])
            return False
        return True

    def _lose_session(self, why: str) -> None:
        """Kill everything at once: from now on others may run what we held."""
        log.error("session.lost", session=self._session, reason=why, jobs=len(self._holding.attempts))
        self._session = None
        self._holding.revoke_all()
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
                await self._holding.hand_back(connection, session, set(self._holding.attempts))
                await connection.execute(sessions.CLOSE, session)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("session.left_open", error=str(error)[:200])

    async def _until_finished(self, timeout_s: float) -> None:
        deadline = self._engine.clock.monotonic() + timeout_s
        while self._engine.clock.monotonic() < deadline:
            if self._holding.all_stored:
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await super().stop()
        await self._runner.stop()
