"""One executor process: its consumer, its worker session with the tools it runs, its reaper, its timers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from jobyard_common.messaging.relaying import Numbers
from jobyard_executor.domain.epoch import Held, Sight
from jobyard_executor.domain.job import Cause

from tests.protocol.database import Database
from tests.protocol.rules import TERMS, TTL

if TYPE_CHECKING:
    from tests.protocol.world import Event, World

Key = tuple[str, int]
Fetched = tuple[int, int, int | None]
"""Offset, nonce, and the nonce of the record before it when it was fetched."""


class Slow(NamedTuple):
    """A transaction that stores an end and has not committed: what it read, and the number it was given."""

    key: Key
    session: str
    number: int
    children: list[str]
    xid: int


class Process:
    """`down`: killed; `frozen`: stopped, and its memory with it."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.down = self.frozen = False
        self.start()

    def start(self) -> None:
        """A new process: nothing is remembered but its name."""
        self.down = self.frozen = False
        self.connected = self.cut_off = False
        self.db: Database = self.world.db
        self.held_until: Held | None = None
        self.watch = self.world.rules.watch(timedelta(seconds=TTL))
        # the consumer
        self.identity: str | None = None
        self.next: int | None = None
        self.before: bytes | None = None
        self.cursor = 0
        self.wanted: bytes | None = None
        self.changed = ""
        self.stopped = ""
        self.link = -1
        self.unsure = False
        """The last transaction had an unclear end."""
        self.batch: list[Fetched] = []
        # the worker
        self.session: str | None = None
        self.trusted = 0.0
        self.held: set[Key] = set()
        self.running: set[Key] = set()
        self.outcomes: dict[Key, Cause] = {}
        self.missing: frozenset[Key] = frozenset()
        self.claimed: tuple[str, list[Key]] | None = None
        # the relay
        self.numbers: Numbers | None = None
        self.kept: dict[int, Event | None] = {}
        """None: only its number is known yet."""
        self.slow: Slow | None = None

    # -- the database

    def connect(self, *, stale: bool = False) -> bool:
        """`EpochWatch.admit` on a new connection; whether the process may use its database."""
        if self.connected and not self.cut_off:
            return True
        rules, world = self.world.rules, self.world
        if self.cut_off:
            return False
        db = world.left_behind if stale and world.left_behind is not None else world.db
        known = self.held_until.epoch if self.held_until else None
        highest = max(known or 0, world.told_epoch, *db.epochs)
        sight = rules.look_epoch(known, db.epoch)
        if sight is Sight.STALE or (rules.look_epoch(highest, db.epoch) is Sight.STALE):
            return False
        self.db, self.connected = db, True
        if sight is Sight.SAME:
            return True
        db.epochs.setdefault(db.epoch, world.db_now)
        first = min(db.epochs) == db.epoch
        ago = None if first else timedelta(seconds=world.db_now - db.epochs[db.epoch])
        left = rules.hold_left(first_seen_ago=ago, ttl=TERMS.ttl).total_seconds()
        self.held_until = Held(db.epoch, world.now + left)
        return True

    def disconnect(self) -> None:
        """Open transactions are rolled back, what the relay remembered is void."""
        self.connected = False
        if self.world.rules.relay_forgets:
            self.numbers = None
            self.kept.clear()
        if self.slow is not None:
            self.db.open_xids.discard(self.slow.xid)
        self.slow = None
        for job_id in [name for name, owner in self.db.locked.items() if owner == self.name]:
            del self.db.locked[job_id]

    def keep(self, numbers: list[int], events: list[Event | None]) -> None:
        """`Relay.keep`."""
        if self.numbers is not None and numbers:
            self.numbers.note(numbers)
            self.kept.update(zip(numbers, events, strict=True))

    @property
    def claims_open(self) -> bool:
        return self.held_until is not None and self.held_until.open(self.world.now)

    # -- the session

    def open_session(self) -> None:
        self.session = self.world.new_session()
        self.trusted = self.world.rules.trusted_until(self.world.now)
        self.db.workers[self.session] = self.world.new_worker(self.name)

    def lose_session(self) -> None:
        self.session = None
        self.held.clear()
        self.running.clear()
        self.outcomes.clear()

    def check_trust(self) -> None:
        """What the beat loop does first, whenever it wakes."""
        if self.session is not None and self.world.now >= self.trusted:
            self.lose_session()

    def kill(self) -> None:
        self.disconnect()
        self.start()
        self.down = True

    def freeze(self) -> None:
        self.frozen = True

    def dispatch(self) -> None:
        """The answer of a claim is there."""
        claimed, self.claimed = self.claimed, None
        if claimed is None or claimed[0] != self.session:
            return
        if self.world.rules.may_start(at=self.world.now, trusted_until=self.trusted, claims_open=self.claims_open):
            self.held.update(claimed[1])
            self.running.update(claimed[1])
