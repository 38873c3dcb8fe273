"""What a worker session holds: attempts between the commit of their claim and the commit of their end.

The beat compares them with the leases in the database: what only the database knows is handed back, what only we know
is killed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from jobyard_common.db.connection import Connection
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.assignment import Outcome, Runner, StopReason
from jobyard_executor.domain.job import Cause
from jobyard_executor.domain.ownership import reconcile
from jobyard_executor.handlers.claim import Held
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.finish import Ended
from jobyard_executor.handlers.reap import give_back
from jobyard_executor.store import sessions

log = get_logger("work")
Key = tuple[str, int]


class Holding:
    """The attempts of one process by job and fence, from claim to stored end."""

    def __init__(self, engine: Engine, runner: Runner) -> None:
        self._engine = engine
        self._runner = runner
        self.attempts: dict[Key, Held] = {}
        self._outcomes: deque[Ended] = deque()
        self.finishing: set[Key] = set()
        """Whose end is being stored: its lease may go at any moment."""
        self._stops: set[Key] = set()
        self._missing: set[Key] = set()

    # -- from the claim to the runner

    def take(self, found: Sequence[Held]) -> None:
        """Dispatch what was claimed; a stop that came before its dispatch is told now."""
        for held in found:
            self.attempts[held.key] = held
        if not found:
            return
        self._runner.dispatch([held.assignment for held in found])
        metrics.JOBS_RUNNING.set(len(self.attempts))
        self._engine.wake_relay()
        for held in found:
            if held.key in self._stops:
                self._stops.discard(held.key)
                self._runner.stop_job(*held.key, reason=StopReason.CANCEL)

    def cancel(self, key: Key) -> None:
        """End an attempt, now or as soon as it is dispatched."""
        if key in self.attempts:
            self._runner.stop_job(*key, reason=StopReason.CANCEL)
        else:
            self._stops.add(key)

    # -- from the runner to the stored end

    def has_ended(self, outcome: Outcome) -> bool:
        """Keep an outcome until it is stored; False if the attempt is not ours any more."""
        held = self.attempts.get((outcome.job_id, outcome.fence))
        if held is None:
            metrics.STALE_WRITES.inc()
            return False
        self._outcomes.append(Ended(held, outcome))
        return True

    def next_ends(self, limit: int) -> list[Ended]:
        """The oldest outcomes, which are `finishing` from now on; then comes `stored` or `not_stored`."""
        batch = [self._outcomes.popleft() for _ in range(min(len(self._outcomes), limit))]
        self.finishing = {ended.held.key for ended in batch}
        return batch

    def stored(self, batch: Sequence[Ended]) -> None:
        for ended in batch:
            self.attempts.pop(ended.held.key, None)
        metrics.JOBS_RUNNING.set(len(self.attempts))

    def not_stored(self, batch: Sequence[Ended]) -> None:
        self._outcomes.extendleft(reversed(batch))

    @property
    def ends_waiting(self) -> bool:
        return bool(self._outcomes)

    @property
    def all_stored(self) -> bool:
        return not self._outcomes and not self.finishing

    # -- compared with the database

    def running(self) -> set[Key]:
        """What must have a lease."""
        return set(self.attempts) - self.finishing

    async def reconcile(
        self, connection: Connection, session: str, *, ours: set[Key], leases: list[sessions.LeaseRow]
    ) -> None:
        """Make runner and database agree; `ours` was `running()` before the leases were read."""
        settled = self.finishing | {ended.held.key for ended in self._outcomes}
        agreed = reconcile(
            leases,
            ours=ours,
            held=self.attempts,
            settled=settled,
            running=self._runner.running(),
            missing=self._missing,
        )
        for key in agreed.kill:
            log.warning("lease.gone", job_id=key[0], fence=key[1])
            self._revoke(key)
        for key in agreed.cancel:
            self._runner.stop_job(*key, reason=StopReason.CANCEL)
        self._missing = set(agreed.missing)
        await self.hand_back(connection, session, set(agreed.hand_back))
        self._stops.clear()

    async def hand_back(self, connection: Connection, session: str, keys: set[Key]) -> None:
        """Give leases back in a transaction of their own; the jobs run again as interrupted."""
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

    def revoke_all(self) -> None:
        """Kill everything at once: from now on others may run what we held."""
        for key in list(self.attempts):
            self._revoke(key)
        self._outcomes.clear()

    def _revoke(self, key: Key) -> None:
        self._runner.stop_job(*key, reason=StopReason.REVOKED)
        self._forget(key)

    def _forget(self, key: Key) -> None:
        held = self.attempts.pop(key, None)
        if held is not None:
            held.span.error("lease_lost")
            held.span.end()
