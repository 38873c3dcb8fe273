"""Kafka and the gateways in front of it: what clients are promised, and in which order it arrives, if it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from jobyard_gateway.domain.keeping import Way

from tests.protocol.rules import LOG_KEPT, Rules

SUBMIT, CANCEL, RESCHEDULE = "submit", "cancel", "reschedule"


@dataclass(frozen=True)
class Command:
    kind: str
    command_id: str
    job_id: str
    body: str = ""
    run_at: float | None = None
    parent: str | None = None
    keyed: bool = False
    limited: bool = False
    poison: bool = False
    tenant: str = "t"


@dataclass
class Record:
    """One append. `nonce` tells it from every other, `at` is when it was appended."""

    nonce: int
    command: Command
    at: float


class Log:
    """One partition of `jobs.commands`."""

    def __init__(self) -> None:
        self.identity = "topic-1"
        self.records: list[Record] = []
        self.begin = 0
        self.link = 0
        """Changes with every connection that clients have to make anew."""
        self.by_nonce: dict[int, Command] = {}
        self._nonce = 0
        self._made = 1

    @property
    def end(self) -> int:
        return len(self.records)

    def append(self, command: Command, *, at: float) -> int:
        self._nonce += 1
        self.by_nonce[self._nonce] = command
        self.records.append(Record(self._nonce, command, at))
        return self.end - 1

    def lose(self, count: int) -> list[Command]:
        """An unclean election: the last acknowledged records are gone."""
        keep = max(self.begin, self.end - count)
        gone = [row.command for row in self.records[keep:]]
        del self.records[keep:]
        self.link += 1
        return gone

    def expire(self, *, before: float) -> list[tuple[int, Record]]:
        """What is too old is gone; returns it with its offsets."""
        first = self.begin
        while self.begin < self.end and self.records[self.begin].at < before:
            self.begin += 1
        return list(enumerate(self.records[first : self.begin], first))

    def make_anew(self) -> list[Command]:
        gone = [row.command for row in self.records[self.begin :]]
        self._made += 1
        self.identity = f"topic-{self._made}"
        self.records, self.begin = [], 0
        self.link += 1
        return gone


@dataclass
class Front:
    """All gateways: they share nothing but the spool. `promised` is what has a 202, with the order of the answers."""

    rules: Rules
    log: Log
    spool: dict[int, Command] = field(default_factory=dict)
    late: list[tuple[float, Command]] = field(default_factory=list)
    """Sends that nobody waits for any more; the broker may still take them."""
    promised: dict[str, int] = field(default_factory=dict)
    first_sent: dict[str, float] = field(default_factory=dict)
    """When a client first sent anything of a job."""
    _since: dict[int, float] = field(default_factory=dict)
    _spooled: int = 0

    def keep(self, command: Command, rng: Random, *, now: float) -> bool:
        """`Commands.keep`: Kafka, else the spool; whether there is a promise."""
        self.first_sent.setdefault(command.job_id, now)
        fate = rng.random()
        if fate < 0.7:
            self.log.append(command, at=now)
            return self._promise(command)
        if fate < 0.85:
            self.late.append((now, command))
        if not self.rules.promises_after_ack:
            self._promise(command)
        return self.to_spool(command, rng, now=now)

    def keep_behind(self, command: Command, rng: Random, *, now: float) -> bool:
        """`Commands.keep_behind`, for a command of a job that another one may still wait for."""
        self.first_sent.setdefault(command.job_id, now)
        known = rng.random() < 0.9
        waits = any(row.job_id == command.job_id for row in self.spool.values()) if known else None
        way = self.rules.way_of_later(waits, needs_order=command.kind == RESCHEDULE)
        if way is Way.REFUSE:
            return False
        if way is Way.SPOOL:
            return self.to_spool(command, rng, now=now)
        return self.keep(command, rng, now=now)

    @property
    def oldest_spooled(self) -> float:
        return min((self._since[number] for number in self.spool), default=float("inf"))

    def to_spool(self, command: Command, rng: Random, *, now: float) -> bool:
        if rng.random() < 0.1:
            return False
        self._spooled += 1
        self.spool[self._spooled], self._since[self._spooled] = command, now
        return self._promise(command)

    def _promise(self, command: Command) -> bool:
        self.promised[command.command_id] = len(self.promised)
        return True

    def drain(self, rng: Random, *, now: float, well: bool) -> None:
        """The relay of the spool: oldest first; killed between append and delete it repeats."""
        rows = sorted(self.spool)
        if not self.rules.spool_in_order and rows:
            rows = rows[-1:]
        for number in rows[:2]:
            self.log.append(self.spool[number], at=now)
            if not well and rng.random() < 0.2:
                return
            del self.spool[number]

    def deliver_late(self, rng: Random, *, now: float) -> None:
        """A copy arrives that its sender has given up, as long as the client library may keep it."""
        if self.late:
            since, command = self.late.pop(rng.randrange(len(self.late)))
            if now - since < LOG_KEPT / 2:
                self.log.append(command, at=now)
