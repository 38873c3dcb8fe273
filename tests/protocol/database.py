"""The executor's database: what a transaction sees and leaves behind, and what a restore forgets.

Names beginning with `ghost` are the checker's own notes. They are copied with the database, because a promise about
one life of it does not bind another.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from jobyard_common.contracts.jobs import TERMINAL, JobState
from jobyard_common.messaging.relaying import Horizon
from jobyard_executor.domain.job import ACTIVE, Job, Step, advance

from tests.protocol.rules import Rules

ORIGIN = datetime(2030, 1, 1, tzinfo=UTC)
S = JobState
EXPIRED = -1
"""The nonce of a record that Kafka dropped before it was read."""


class Broken(AssertionError):
    """An invariant does not hold; `name` is the one of the documents."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


def moment(at: float) -> datetime:
    return ORIGIN + timedelta(seconds=at)


class Worker:
    __slots__ = ("beat", "expires_at", "owner", "reaped")

    def __init__(self, owner: str, expires_at: float) -> None:
        self.owner, self.expires_at, self.beat, self.reaped = owner, expires_at, 0, False


class Lease:
    __slots__ = ("cancelling", "claimed_at", "fence", "job_id", "old", "session")

    def __init__(self, job_id: str, fence: int, session: str, claimed_at: float) -> None:
        self.job_id, self.fence, self.session, self.claimed_at = job_id, fence, session, claimed_at
        self.old = self.cancelling = False


_COPIED = ("ready", "results", "seen", "tombstones", "keyed", "outbox", "offsets", "dead", "epochs", "limited",
           "ghost_births", "ghost_applied", "ghost_cancelled", "ghost_ended", "ghost_rank")  # fmt: skip
_DEEP = ("jobs", "leases", "workers")
_LISTS = ("attempts", "edges", "ghost_read")


class Database:
    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.ready: set[str] = set()
        self.leases: dict[str, Lease] = {}
        self.workers: dict[str, Worker] = {}
        self.attempts: dict[str, list[tuple[int, int]]] = {}
        self.results: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.tombstones: set[str] = set()
        self.keyed: dict[str, str] = {}
        self.edges: dict[str, list[str]] = {}
        self.limited: set[str] = set()
        self.running_counter = 0
        self.outbox: dict[int, tuple[str, int, int, JobState]] = {}
        self.outbox_id = 0
        self.fences = 0
        self.offsets: dict[str, tuple[int, bytes | None]] = {}
        self.dead: Counter[str] = Counter()
        self.timeline, self.added = 1, 0
        self.epochs: dict[int, float] = {1: -1000.0}
        self.locked: dict[str, str] = {}
        self.next_xid, self.open_xids = 1, set[int]()
        """Of transactions that take their time; all others are over at once."""
        self.ghost_births: Counter[str] = Counter()
        self.ghost_applied: Counter[str] = Counter()
        self.ghost_cancelled: set[str] = set()
        self.ghost_ended: dict[str, tuple[JobState, int]] = {}
        self.ghost_rank: dict[str, int] = {}
        self.ghost_read: dict[str, list[int]] = {}

    @property
    def epoch(self) -> int:
        return self.timeline + self.added

    def copy(self) -> Database:
        """What a backup of this moment holds. Open transactions are not in it."""
        made = Database()
        made.__dict__.update(self.__dict__)
        for name in _COPIED:
            setattr(made, name, copy(getattr(self, name)))
        for name in _DEEP:
            setattr(made, name, {key: copy(value) for key, value in getattr(self, name).items()})
        for name in _LISTS:
            setattr(made, name, {key: list(value) for key, value in getattr(self, name).items()})
        made.locked, made.open_xids = {}, set()
        return made

    def begin(self) -> int:
        """A transaction that has its number before it ends."""
        xid = self.next_xid
        self.next_xid += 1
        self.open_xids.add(xid)
        return xid

    @property
    def horizon(self) -> Horizon:
        """`outbox.HORIZON`."""
        return Horizon(min(self.open_xids, default=self.next_xid), self.next_xid)

    # -- what the product's `Write` does

    def new_outbox_id(self) -> int:
        self.outbox_id += 1
        return self.outbox_id

    def tell(self, job: Job, rules: Rules, number: int | None = None) -> None:
        born = rules.incarnation_of(self.epoch, job.born_ms)
        self.outbox[self.new_outbox_id() if number is None else number] = (job.job_id, born, job.event_no, job.state)

    def store(self, job: Job, rules: Rules, *, before: JobState | None, number: int | None = None) -> None:
        """What `handlers/move.py` and `Write` leave behind for a job that has just taken a step or was born."""
        name = job.job_id
        if before is S.QUEUED:
            self.ready.discard(name)
        if before in ACTIVE and job.state not in ACTIVE:
            self.leases.pop(name, None)
        if job.state is S.QUEUED:
            self.ready.add(name)
        self.tell(job, rules, number)
        if job.state in TERMINAL:
            self._ended(job)

    def _ended(self, job: Job) -> None:
        known = self.ghost_ended.get(job.job_id)
        if known is not None and known[0] is not job.state:
            raise Broken("I3", f"{job.job_id} was {known[0]}, is {job.state}")
        self.ghost_ended[job.job_id] = (job.state, job.event_no)

    def move(self, job: Job, step: Step, rules: Rules, *, at: float, number: int | None = None) -> None:
        before = job.state
        advance(job, step, now=moment(at))
        self.store(job, rules, before=before, number=number)

    def end_attempt(self, job: Job) -> None:
        """The row of `attempt`, and the result if this was the last one."""
        self.attempts.setdefault(job.job_id, []).append((job.attempt, job.fence))

    def skip_to(self, identity: str, begin: int) -> None:
        """The log begins here now: what was before and never read is gone."""
        read = self.ghost_read.setdefault(identity, [])
        read += [EXPIRED] * (begin - len(read))

    def has_read(self, identity: str, offset: int, nonce: int) -> bool:
        read = self.ghost_read.get(identity, [])
        return offset < len(read) and read[offset] == nonce

    def forget(self, older_than: float) -> list[str]:
        """`prune`: ends that are older than their retention."""
        gone = [
            name for name, job in self.jobs.items()
            if job.state in TERMINAL and job.finished_at is not None and job.finished_at < moment(older_than)
        ]  # fmt: skip
        for name in gone:
            for table in (self.jobs, self.attempts, self.keyed, self.edges, self.results):
                table.pop(name, None)
            self.tombstones.discard(name)
            self.limited.discard(name)
        return gone


def new_job(name: str, *, now: float, **given: Any) -> Job:
    """A row as ingest inserts it."""
    values: dict[str, Any] = dict.fromkeys(Job.__struct_fields__)
    values |= {
        "job_id": name, "tenant": "t", "state": S.QUEUED, "dead": False, "event_no": 1, "born_ms": int(now * 1000),
        "attempt": 0, "failures": 0, "lost": 0, "interrupted": 0, "fence": 0, "created_at": moment(now),
        "output_seq": 0, "pending": 0, "timers": False, "correlation_id": "", "traceparent": "", "actor": "",
        "spec": "",
    }  # fmt: skip
    return Job(**(values | given))
