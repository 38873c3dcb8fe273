"""The whole of it: what can happen, one step at a time, by chance or by a schedule."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from jobyard_common.contracts.jobs import TERMINAL, JobState
from jobyard_executor.domain.epoch import epoch_of_incarnation
from jobyard_executor.domain.job import Cause, Job, Step

from tests.protocol import checks, consuming
from tests.protocol.asking import Asked
from tests.protocol.bus import CANCEL, RESCHEDULE, SUBMIT, Command, Front, Log
from tests.protocol.database import Database, Worker, moment
from tests.protocol.executor import Process
from tests.protocol.filing import Shelf
from tests.protocol.rules import IDS_KEPT, LOG_KEPT, TTL, Rules

S = JobState
MAX_JOBS = 6
SHARDS = 2
Event = tuple[str, int, int, JobState]


class World:
    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.now = 0.0
        self.skew = 0.0
        self.steps = 0
        self.db = Database()
        self.left_behind: Database | None = None
        self.backups: list[tuple[float, Database]] = []
        self.log = Log()
        self.front = Front(self.rules, self.log)
        self.commands: list[Command] = []
        self.excused: set[str] = set()
        self.purged: set[str] = set()
        self.owners: dict[tuple[str, int], str] = {}
        self.proven_gone: set[str] = set()
        self.sessions = 0
        self.events: list[Event] = []
        self.published: dict[tuple[str, int], tuple[int, bool]] = {}
        self.told: dict[tuple[str, int, int], JobState] = {}
        self.told_epoch = 0
        self.printed = 0
        """The last epoch that a recovery printed: the operator gives it to the next one."""
        self.projection: dict[str, tuple[int, int, JobState]] = {}
        self.read = 0
        self.late_events: list[Event] = []
        self.conflicts: list[Command] = []
        self.asked: Asked | None = None
        self.shelf = Shelf()
        self.shards: list[str | None] = [None] * SHARDS
        self.processes = [Process("one", self), Process("two", self)]

    # -- what everybody may ask

    @property
    def db_now(self) -> float:
        return self.now + self.skew

    def new_session(self) -> str:
        self.sessions += 1
        return f"ses-{self.sessions}"

    def new_worker(self, owner: str) -> Worker:
        return Worker(owner, self.db_now + TTL)

    def children_of_ended(self, db: Database, job: Job, *, only: list[str] | None = None) -> None:
        """`handlers/children.py`, in the transaction of the end; `only`: the edges that it saw."""
        if job.state not in TERMINAL:
            return
        children = db.edges.pop(job.job_id, []) if only is None else only
        for name in children:
            child = db.jobs.get(name)
            if child is not None and child.state is S.BLOCKED:
                self.unblock(db, child, good=job.state is S.SUCCEEDED)

    def unblock(self, db: Database, child: Job, *, good: bool) -> None:
        early = child.run_at is not None and child.run_at > moment(self.now)
        cause = Cause.PARENT_FAILED if not good else Cause.PARENTS_DONE_EARLY if early else Cause.PARENTS_DONE
        step = self.rules.next_state(child, cause)
        if isinstance(step, Step):
            db.move(child, step, self.rules, at=self.now)
            self.children_of_ended(db, child)

    # -- clients

    def submit(self, rng: Random) -> None:
        """A new job, or an old key again: the same body, or another one."""
        known = [row for row in self.commands if row.kind == SUBMIT]
        if known and (len(known) >= MAX_JOBS or rng.random() < 0.3):
            old = known[rng.randrange(len(known))]
            if not old.keyed or self.now - self.front.first_sent[old.job_id] > IDS_KEPT - LOG_KEPT:
                # A key is remembered for so long; whoever uses it later asks for another job.
                return
            body = old.body if rng.random() < 0.7 else "other"
            number = sum(1 for row in self.commands if row.job_id == old.job_id)
            again = Command(
                SUBMIT, old.command_id if body == old.body else f"{old.command_id}-{number}", old.job_id, body,
                old.run_at, old.parent, keyed=True, limited=old.limited, poison=old.poison,
            )  # fmt: skip
            if body != old.body:
                self.conflicts.append(again)
            self.front.keep(again, rng, now=self.now)
            return
        name = f"job-{len(known)}"
        run_at = self.now + rng.randint(2, 12) if rng.random() < 0.35 else None
        parent = known[rng.randrange(len(known))].job_id if known and rng.random() < 0.25 else None
        made = Command(
            SUBMIT, f"cmd-{name}", name, "body", run_at, parent, keyed=rng.random() < 0.5, limited=rng.random() < 0.4,
            poison=rng.random() < 0.08,
        )  # fmt: skip
        self.commands.append(made)
        self.front.keep(made, rng, now=self.now)

    def order(self, rng: Random) -> None:
        """Cancel or reschedule a job; the client may send before it is sure that the job was taken."""
        known = [row for row in self.commands if row.kind == SUBMIT]
        if not known:
            return
        job_id = known[rng.randrange(len(known))].job_id
        number = len(self.commands)
        if rng.random() < 0.35:
            made = Command(CANCEL, f"cmd-{number}", job_id)
        else:
            made = Command(RESCHEDULE, f"cmd-{number}", job_id, run_at=self.now + rng.randint(3, 15))
        self.commands.append(made)
        self.front.keep_behind(made, rng, now=self.now)

    # -- the relay and its readers

    def unlock(self, process: Process) -> None:
        """Its connection is gone, and its locks with it."""
        self.shards = [None if owner == process.name else owner for owner in self.shards]

    def publish(self, event: Event) -> None:
        checks.check_event(self, event)
        self.events.append(event)
        self.told_epoch = max(self.told_epoch, epoch_of_incarnation(event[1]))

    def publish_late(self, rng: Random) -> None:
        """A send that its relay gave up arrives after all, behind newer ones."""
        if self.late_events:
            event = self.late_events.pop(rng.randrange(len(self.late_events)))
            if (event[0], event[1]) in self.published:
                self.publish(event)

    def project(self, rng: Random, *, well: bool = False) -> None:
        """A reader of events, which sometimes reads some of them again."""
        if not well and rng.random() < 0.1:
            self.read = rng.randint(0, self.read)
        for name, born, number, state in self.events[self.read : self.read + 5]:
            self.shelf.release((name, born, number))
            stored = self.projection.get(name)
            if self.rules.newer((born, number), stored[:2] if stored else None):
                self.projection[name] = (born, number, state)
        self.read = min(len(self.events), self.read + 5)

    # -- time and disaster

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for process in self.processes:
            if not process.frozen and not process.down:
                process.check_trust()

    def gone(self, process: Process) -> None:
        """A killed process: whoever looks has the proof, and its locks are free."""
        self.proven_gone |= {name for name, row in self.db.workers.items() if row.owner == process.name}
        self.unlock(process)

    def step_clock(self, seconds: float) -> None:
        """The clock of the database jumps."""
        self.skew += seconds

    def back_up(self) -> None:
        self.backups = [*self.backups[-1:], (self.now, self.db.copy())]

    def fail_over(self, *, by_hand: bool = False, old_copy: bool = False) -> None:
        """A standby or an older copy takes over; `by_hand`: by copying files, which the timeline does not show.

        A standby follows the recoveries of its primary; `old_copy`: it did not, and is promoted all the same.
        """
        fresh = [
            copy for at, copy in self.backups
            if self.now - at < LOG_KEPT / 2 and (by_hand or old_copy or copy.added == self.db.added)
        ]  # fmt: skip
        if not fresh:
            return
        old, self.db = self.db, fresh[-1].copy()
        self.left_behind = old
        for process in self.processes:
            process.disconnect()
            self.unlock(process)
        if not by_hand:
            self.db.timeline = max(old.timeline, self.db.timeline) + 1
        elif self.rules.recovers_epoch:
            self.recover(above=old.epoch)

    def recover(self, *, above: int = 0) -> None:
        """`recover epoch`, by an operator who knows that this copy is to be used from now on."""
        db = self.db
        highest = max(above, self.told_epoch, self.printed, *db.epochs)
        db.added = self.rules.next_added(added=db.added, timeline=db.timeline, above=highest)
        db.epochs[db.epoch] = self.db_now
        self.printed = db.epoch
        for process in self.processes:
            process.disconnect()
            self.unlock(process)

    def lose_records(self, rng: Random) -> None:
        gone = self.log.lose(rng.randint(1, 3)) if rng.random() < 0.8 else self.log.make_anew()
        self.excused |= {row.command_id for row in gone} | {row.job_id for row in gone}

    def rewind(self) -> None:
        """An operator sends stopped partitions back: `recover offsets`."""
        for process in self.processes:
            if process.stopped and process.identity is not None:
                self.db.offsets[process.identity] = (self.log.begin, None)
                del self.db.ghost_read.setdefault(process.identity, [])[self.log.begin :]
                for other in self.processes:
                    consuming.begin_anew(other)

    def prune(self) -> None:
        """Ids are forgotten after their retention; Kafka's records are gone by then."""
        databases = [self.db, *(copy for _, copy in self.backups)]
        for offset, record in self.log.expire(before=self.now - LOG_KEPT):
            if not all(db.has_read(self.log.identity, offset, record.nonce) for db in databases):
                self.excused |= {record.command.command_id, record.command.job_id}
        for process in self.processes:
            # Nobody holds a batch for as long as Kafka keeps records.
            process.batch = [row for row in process.batch if row[0] >= self.log.begin]
        for db in databases:
            db.skip_to(self.log.identity, self.log.begin)
        if self.front.oldest_spooled < self.now - LOG_KEPT:
            # Ids are remembered for longer than anything waits: see "What stays open" in docs/reliability.md.
            return
        self.purged |= set(self.db.forget(self.now - self.rules.ids_kept))

    def sweep(self) -> None:
        """`handlers/sweep_blocked.py`: nobody waits for a parent that will never come."""
        for job in list(self.db.jobs.values()):
            if job.state is not S.BLOCKED or moment(self.now) - job.created_at < timedelta(seconds=20):
                continue
            parents = [name for name, children in self.db.edges.items() if job.job_id in children]
            if not any(name in self.db.jobs for name in parents):
                self.unblock(self.db, job, good=False)
