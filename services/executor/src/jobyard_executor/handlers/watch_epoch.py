"""Every new connection says in which life of the database it is.

A lower epoch than one that was seen is a server left behind, or a restore that nobody told us of: the connection is
refused. A higher one is a fail-over or a restore: claims wait until the workers of the lost future are gone.
"""

from __future__ import annotations

from datetime import timedelta

from jobyard_common.contracts.telemetry import Check
from jobyard_common.db.connection import Connection
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.epoch import Held, Sight, hold_left
from jobyard_executor.domain.epoch import look as look_at
from jobyard_executor.store import recovery

log = get_logger("epoch")


class EpochRefused(ConnectionError):
    """The database is in an older life than one we know, or was restored elsewhere; the text says what to do."""


class EpochWatch:
    """What this process knows of the database's lives. `admit` is called for each new connection of the pool."""

    def __init__(self, clock: Clock, *, ttl: timedelta) -> None:
        self._clock = clock
        self._ttl = ttl
        self._held: Held | None = None
        self._refused = ""
        self._told = 0

    @property
    def epoch(self) -> int | None:
        return self._held.epoch if self._held else None

    def may_claim(self) -> bool:
        return self._held is not None and self._held.open(self._clock.monotonic())

    def check(self) -> Check:
        """For readiness: whether the database may be used, and whether claims wait."""
        if self._refused:
            return Check("degraded", self._refused, critical=False)
        if self._held is not None and not self.may_claim():
            left = self._held.until - self._clock.monotonic()
            return Check("degraded", f"epoch {self._held.epoch} is new; claims wait {left:.0f} s", critical=False)
        return Check("ok")

    def told(self, epoch: int) -> None:
        """Kafka holds events of this epoch: a database below it is an older copy, even if nobody here remembers."""
        self._told = max(self._told, epoch)
        if self.epoch is not None and self._told > self.epoch:
            self._say(f"Kafka was told of epoch {self._told}, but this database is in epoch {self.epoch}")
            self._held = None

    async def admit(self, connection: Connection) -> None:
        """Look at a new connection before anybody uses it.

        Raises:
            EpochRefused: it must not be used.
        """
        found = await recovery.look(connection)
        self._refuse(found)
        if look_at(self.epoch, found.epoch) is Sight.SAME:
            return
        if found.ago is None:
            await recovery.seen(connection, found.epoch, cause="timeline")
            found = await recovery.look(connection)
        ago = found.ago if found.before else None
        left = hold_left(first_seen_ago=ago, ttl=self._ttl).total_seconds()
        self._held = Held(found.epoch, self._clock.monotonic() + left)
        if self.epoch is not None and self._told > self.epoch:
            self._held = None
        if left:
            log.warning("epoch.new", epoch=found.epoch, timeline=found.timeline, claims_wait_s=round(left, 1))
        else:
            log.info("epoch.known", epoch=found.epoch, timeline=found.timeline)

    def _refuse(self, found: recovery.EpochRow) -> None:
        known = max(self.epoch or 0, found.highest or 0, self._told)
        why = ""
        if look_at(known, found.epoch) is Sight.STALE:
            why = f"this database is in epoch {found.epoch}, but epoch {known} was seen: it is an old copy"
        elif not found.at_home:
            why = "this database was made in another cluster"
        self._say(why)
        if why:
            raise EpochRefused(self._refused)

    def _say(self, why: str) -> None:
        text = f"{why}; if it is meant to be used: python -m jobyard_executor recover epoch" if why else ""
        if text and text != self._refused:
            log.error("epoch.refused", reason=text)
        self._refused = text
