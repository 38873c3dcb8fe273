"""Ingest: from the log into the database, one transaction a batch, as `messaging/consumer.py` does it."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from jobyard_common.contracts.jobs import TERMINAL, JobState
from jobyard_common.messaging.resume import Look, Lost
from jobyard_executor.domain.birth import Born
from jobyard_executor.domain.job import Cause, Step

from tests.protocol.bus import CANCEL, RESCHEDULE, SUBMIT, Command
from tests.protocol.database import EXPIRED, Broken, moment, new_job
from tests.protocol.executor import Fetched, Process

if TYPE_CHECKING:
    from tests.protocol.world import World

S = JobState


class End(Enum):
    """How a transaction ended, for whoever began it."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNCLEAR = "unclear"


def toss(rng: Random, *, well: bool) -> End:
    fate = rng.random()
    if well or fate < 0.8:
        return End.COMMITTED
    return End.ABORTED if fate < 0.9 else End.UNCLEAR


def settle(world: World, process: Process) -> None:
    """`Placement.settle`: go to PostgreSQL's offset, and ask for the record before it."""
    rules, log = world.rules, world.log
    identity = log.identity if rules.topic_identity else "topic"
    if process.identity is None:
        process.identity = identity
    if process.identity != identity:
        begin_anew(process)
        return
    db = process.db
    if process.identity not in db.offsets:
        db.offsets[process.identity] = (rules.missing_offset(log.end), None)
    stored, known = db.offsets[process.identity]
    plan = rules.resume(stored, known, begin=log.begin, end=log.end)
    if isinstance(plan, Lost) or process.changed:
        why = plan.why if isinstance(plan, Lost) else process.changed
        process.changed = ""
        process.stopped, process.next, process.batch = why, None, []
        return
    process.next, process.before, process.cursor = stored, known, plan.seek
    process.wanted = known if plan.verify else None
    process.link, process.batch = log.link, []


def begin_anew(process: Process) -> None:
    """Superseded, or disconnected: a new session of the consumer."""
    process.identity, process.next, process.batch, process.wanted = None, None, [], None
    process.stopped = process.changed = ""
    process.unsure = False


def fetch(world: World, process: Process, rng: Random) -> None:
    """`getmany` and `Placement.accept`; the client itself goes to the beginning when its offset does not exist."""
    log, rules = world.log, world.rules
    if process.stopped or process.batch:
        return
    if process.next is None:
        settle(world, process)
        return
    if rules.looks_after_reconnect and process.link != log.link:
        settle(world, process)
        return
    if not log.begin <= process.cursor <= log.end:
        process.cursor = log.begin
    upto = min(log.end, process.cursor + rng.randint(1, 3))
    rows: list[Fetched] = [
        (offset, log.records[offset].nonce, log.records[offset - 1].nonce if offset > log.begin else None)
        for offset in range(process.cursor, upto)
    ]
    if not rows:
        return
    process.cursor = rows[-1][0] + 1
    wanted, process.wanted = process.wanted, None
    first = log.records[rows[0][0]]
    print_ = rules.fingerprint(first.nonce, first.command.command_id)
    found = rules.look(rows[0][0], print_, next_offset=process.next, wanted=wanted)
    if found is not Look.GOOD:
        if found is Look.CHANGED:
            process.changed = "another record"
        settle(world, process)
        return
    process.batch = [row for row in rows if row[0] >= process.next]


def apply(world: World, process: Process, rng: Random, *, well: bool = False) -> None:
    """`_apply_until_durable`, one try of it."""
    if process.unsure and not _reload(world, process):
        return
    batch = [(row, world.log.by_nonce[row[1]]) for row in process.batch]
    if not batch or process.next is None or process.identity is None:
        return
    ends = _apply(world, process, batch, rng, well=well)
    if ends is None:
        begin_anew(process)
        return
    process.unsure = ends is not End.COMMITTED
    if ends is End.COMMITTED:
        process.batch = []


def _reload(world: World, process: Process) -> bool:
    """`Placement.reload`, before a batch is tried again; whether it may be."""
    process.unsure = False
    if process.identity is None or process.next is None:
        return False
    stored, before = process.db.offsets.get(process.identity, (0, None))
    if not world.rules.goes_on(held=(process.next, process.before), stored=(stored, before)):
        begin_anew(process)
        return False
    process.next, process.before = stored, before
    process.batch = [row for row in process.batch if row[0] >= stored]
    return bool(process.batch)


Rows = list[tuple[Fetched, Command]]


def _apply(world: World, process: Process, batch: Rows, rng: Random, *, well: bool) -> End | None:
    """Halve the batch around a record that PostgreSQL cannot store; None if somebody else moved the offset."""
    if not any(command.poison for _, command in batch):
        return _transaction(world, process, batch, rng, well=well)
    if not world.rules.bisects:
        return End.ABORTED
    if len(batch) == 1:
        return _transaction(world, process, batch, rng, well=well)
    middle = len(batch) // 2
    for half in (batch[:middle], batch[middle:]):
        end = _apply(world, process, half, rng, well=well)
        if end is not End.COMMITTED:
            return end
    return End.COMMITTED


def _transaction(world: World, process: Process, batch: Rows, rng: Random, *, well: bool) -> End | None:
    db, rules = process.db, world.rules
    assert process.identity is not None and process.next is not None
    if not rules.moves(db.offsets.get(process.identity, (0, None)), (process.next, process.before)):
        return None
    end = toss(rng, well=well)
    locked = db.locked
    if any(row.job_id in locked or (rules.parents_locked and row.parent in locked) for _, row in batch):
        end = End.ABORTED
    (offset, nonce, _), last = batch[-1]
    if end is End.ABORTED:
        if not rules.offset_in_transaction:
            db.offsets[process.identity] = (offset + 1, rules.fingerprint(nonce, last.command_id))
        return end
    db.offsets[process.identity] = (offset + 1, rules.fingerprint(nonce, last.command_id))
    for fetched, command in batch:
        _note_read(process, *fetched)
        _effect(world, process, command)
    if end is End.COMMITTED:
        process.next, process.before = db.offsets[process.identity]
    return end


def _note_read(process: Process, offset: int, nonce: int, before: int | None) -> None:
    """A9: what was read is the log as it is, without a gap; an operator's rewind begins a new note."""
    assert process.identity is not None
    read = process.db.ghost_read.setdefault(process.identity, [])
    if offset > len(read):
        raise Broken("A9", f"record {offset} was read, but only {len(read)} before it")
    if offset < len(read) and read[offset] == nonce:
        raise Broken("I10", f"record {offset} was applied twice in one life of the database")
    if before is not None and offset and read[offset - 1] not in (before, EXPIRED):
        raise Broken("A9", f"record {offset} was read, but the one before it is not the one that was read")
    if offset < len(read) and read[offset] == EXPIRED:
        # It was in hand when Kafka dropped it.
        read[offset] = nonce
        return
    del read[offset:]
    read.append(nonce)


def _effect(world: World, process: Process, command: Command) -> None:
    db, rules = process.db, world.rules
    if command.poison:
        db.dead[command.command_id] += 1
        return
    if command.kind == SUBMIT:
        _submit(world, process, command)
        return
    if rules.is_seen(command.command_id, db.seen):
        return
    db.seen.add(command.command_id)
    db.ghost_applied[command.command_id] += 1
    if db.ghost_applied[command.command_id] > 1:
        raise Broken("A4", f"{command.command_id} was applied twice")
    job = db.jobs.get(command.job_id)
    if job is None:
        if rules.leaves_tombstone(cancel=command.kind == CANCEL, exists=False):
            db.tombstones.add(command.job_id)
        if command.kind == CANCEL:
            db.ghost_cancelled.add(command.job_id)
        return
    if command.kind == CANCEL:
        if job.state not in TERMINAL:
            db.ghost_cancelled.add(job.job_id)
        step = rules.next_state(job, Cause.CANCEL_ASKED)
        if isinstance(step, Step):
            db.move(job, step, rules, at=world.now)
            world.children_of_ended(db, job)
    elif command.kind == RESCHEDULE and job.state is S.SCHEDULED:
        rank = world.front.promised.get(command.command_id)
        if rank is not None:
            if rank < db.ghost_rank.get(job.job_id, -1):
                raise Broken("A4", f"{command.command_id} was acknowledged before what it overwrites")
            db.ghost_rank[job.job_id] = rank
        job.run_at = moment(command.run_at or 0.0)
        job.event_no += 1
        db.tell(job, rules)


def _submit(world: World, process: Process, command: Command) -> None:
    db, rules, name = process.db, world.rules, command.job_id
    if name in db.jobs:
        if command.keyed and rules.contradicts(db.keyed.get(name), command.body):
            db.dead[command.command_id] += 1
        return
    db.ghost_births[name] += 1
    parent = db.jobs.get(command.parent) if command.parent else None
    parent_state = parent.state if parent is not None else None
    pending = command.parent is not None and parent_state not in TERMINAL
    first = rules.born(
        tombstone=name in db.tombstones, tool_known=True, superseded=False,
        parent_failed=command.parent is not None and parent_state in TERMINAL and parent_state is not S.SUCCEEDED,
        past_deadline=False, parents_pending=pending,
        early=command.run_at is not None and command.run_at > world.now,
    )  # fmt: skip
    job = new_job(name, now=world.now, run_at=None if command.run_at is None else moment(command.run_at))
    job.state = _STATES[first]
    if job.state is S.BLOCKED:
        job.pending = 1
    if job.state is S.QUEUED:
        job.queued_at = moment(world.now)
    if job.state in TERMINAL:
        job.finished_at = moment(world.now)
    db.jobs[name] = job
    if command.keyed:
        db.keyed[name] = command.body
    if command.limited:
        db.limited.add(name)
    if command.parent and pending:
        db.edges.setdefault(command.parent, []).append(name)
    db.store(job, rules, before=None)
    world.children_of_ended(db, job)


_STATES = {
    Born.CANCELLED: S.CANCELLED, Born.PARENT_FAILED: S.FAILED, Born.BLOCKED: S.BLOCKED, Born.SCHEDULED: S.SCHEDULED,
    Born.QUEUED: S.QUEUED,
}  # fmt: skip
