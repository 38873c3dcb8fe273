"""Claims, tools, beats, ends and reaping, as `inbound/work.py` and `handlers/` do them."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from jobyard_common.contracts.jobs import JobState
from jobyard_executor.domain.job import ACTIVE, Cause, Job, Step

from tests.protocol.consuming import End, toss
from tests.protocol.database import Broken, Lease, moment
from tests.protocol.executor import Key, Process, Slow
from tests.protocol.rules import TERMS, TTL

if TYPE_CHECKING:
    from tests.protocol.world import World

S = JobState
LIMIT = 1
CLAIM_TIMEOUT = TERMS.claim_timeout.total_seconds()
MAX_FAILURES = 2


def claim(world: World, process: Process, rng: Random, *, well: bool = False) -> None:
    """`Work._claim`: two jobs at most; the process may freeze between the commit and its answer."""
    rules, db = world.rules, process.db
    if not process.claims_open or process.claimed is not None:
        return
    if process.session is None:
        process.open_session()
    session = process.session
    assert session is not None
    worker = db.workers.get(session)
    if worker is None or not rules.claims(worker, db_now=world.db_now):
        process.lose_session()
        return
    end = toss(rng, well=well)
    if end is End.ABORTED:
        return
    waiting = [name for name in sorted(db.ready) if name not in db.locked]
    rng.shuffle(waiting)
    found: list[Key] = []
    for name in waiting[:2]:
        job = db.jobs[name]
        if name in db.limited:
            leases = sum(1 for lease in db.leases if lease in db.limited)
            if rules.room(LIMIT, leases, db.running_counter) <= 0:
                continue
        if isinstance(rules.next_state(job, Cause.CLAIMED), Step):
            found.append(_start(world, process, job, session))
    if end is End.UNCLEAR:
        return
    process.claimed = (session, found)
    if not well and rng.random() < 0.05:
        process.freeze()
        return
    process.dispatch()


def _start(world: World, process: Process, job: Job, session: str) -> Key:
    db, rules = process.db, world.rules
    if job.job_id in db.ghost_cancelled:
        raise Broken("A7", f"{job.job_id} starts after its cancel was applied")
    db.fences += 1
    fence = rules.fence_of(db.epoch, db.fences)
    if (job.job_id, fence) in world.owners:
        raise Broken("A5", f"fence {fence} of {job.job_id} is given a second time")
    if fence <= job.fence:
        raise Broken("I5", f"fence {fence} of {job.job_id} follows {job.fence}")
    world.owners[(job.job_id, fence)] = session
    job.state, job.reason = S.RUNNING, None
    job.event_no += 1
    job.attempt += 1
    job.fence, job.session, job.worker = fence, session, process.name
    job.started_at = moment(world.now)
    db.ready.discard(job.job_id)
    if job.job_id in db.leases:
        raise Broken("I5", f"{job.job_id} has two leases")
    db.leases[job.job_id] = Lease(job.job_id, fence, session, world.db_now)
    db.running_counter += job.job_id in db.limited
    db.tell(job, rules)
    return job.job_id, fence


def tool_ends(world: World, process: Process, rng: Random, *, well: bool = False) -> None:
    running = sorted(process.running)
    if not running:
        return
    key = running[rng.randrange(len(running))]
    process.running.discard(key)
    fate = rng.random()
    if not well and fate < 0.05:
        return
    good = well or fate < 0.6
    if good and fate < 0.4 and not world.shelf.store(world, key):
        process.running.add(key)
        return
    process.outcomes[key] = Cause.SUCCEEDED if good else rng.choice((Cause.ERROR, Cause.TIMEOUT, Cause.INTERRUPTED))


def finish(world: World, process: Process, rng: Random, *, well: bool = False) -> None:
    """`handlers/finish.py` for one attempt. A slow transaction has its outbox number long before its commit."""
    if not process.outcomes or process.session is None or process.slow is not None or not process.connected:
        return
    key = min(process.outcomes)
    db = process.db
    if key[0] in db.locked:
        return
    if not well and rng.random() < 0.15:
        begin_slow(world, process)
        return
    end = toss(rng, well=well)
    if end is End.ABORTED:
        return
    _record(world, process, key, process.outcomes[key])
    if end is End.COMMITTED:
        process.outcomes.pop(key)
        process.held.discard(key)


def begin_slow(world: World, process: Process) -> None:
    """The transaction of an end has its locks and its outbox number, and has read its edges; its commit comes later."""
    key, db = min(process.outcomes), process.db
    assert process.session is not None
    db.locked[key[0]] = process.name
    process.slow = Slow(key, process.session, db.new_outbox_id(), list(db.edges.get(key[0], ())), db.begin())
    process.keep([process.slow.number], [None])


def commit_slow(world: World, process: Process, rng: Random) -> None:
    """A transaction that began earlier commits now, or is rolled back."""
    slow, process.slow = process.slow, None
    if slow is None:
        return
    process.db.locked.pop(slow.key[0], None)
    process.db.open_xids.discard(slow.xid)
    if slow.key not in process.outcomes or slow.session != process.session or rng.random() < 0.1:
        return
    _record(world, process, slow.key, process.outcomes.pop(slow.key), slow=slow)
    process.held.discard(slow.key)


def _record(world: World, process: Process, key: Key, cause: Cause, *, slow: Slow | None = None) -> None:
    """Guarded by (job, fence, session); nothing at all is recorded for another attempt."""
    db, rules = process.db, world.rules
    job = db.jobs.get(key[0])
    if job is None or not rules.owns(job, fence=key[1], session=process.session):
        return
    if world.owners.get((job.job_id, job.fence)) != process.session or job.fence != key[1]:
        raise Broken("I4", f"{process.name} records for {job.job_id} what it no longer owns")
    pause = None if job.failures + 1 >= MAX_FAILURES else timedelta(seconds=1)
    step = rules.next_state(job, cause, pause=pause)
    if not isinstance(step, Step):
        raise Broken("I3", f"{job.job_id} in {job.state} ends with {step}")
    db.end_attempt(job)
    db.running_counter -= job.job_id in db.limited
    if step.state is S.SUCCEEDED:
        db.results[job.job_id] += 1
        world.shelf.outputs[(job.job_id, rules.incarnation_of(db.epoch, job.born_ms), job.event_no + 1)] = key
        if db.results[job.job_id] > 1:
            raise Broken("I4", f"{job.job_id} has two results")
    db.move(job, step, rules, at=world.now, number=slow.number if slow else None)
    world.children_of_ended(db, job, only=slow.children if slow else None)


def beat(world: World, process: Process, rng: Random, *, well: bool = False) -> None:
    """`Work._beat` with its reconciliation."""
    rules, db, session = world.rules, process.db, process.session
    if session is None:
        return
    began = world.now
    ours = set(process.held)
    worker = db.workers.get(session)
    end = toss(rng, well=well)
    if end is End.ABORTED:
        return
    if worker is None or not rules.extends(worker, db_now=world.db_now):
        if end is End.COMMITTED:
            process.lose_session()
        return
    worker.beat += 1
    worker.expires_at = world.db_now + TTL
    if end is End.UNCLEAR:
        return
    process.trusted = rules.trusted_until(began)
    leases = [lease for lease in db.leases.values() if lease.session == session]
    for lease in leases:
        lease.old = lease.claimed_at < world.db_now - CLAIM_TIMEOUT
        lease.cancelling = db.jobs[lease.job_id].state is S.CANCELLING
    agreed = rules.reconcile(
        leases, ours=ours, held=process.held, settled=set(process.outcomes), running=process.running,
        missing=process.missing,
    )  # fmt: skip
    for key in agreed.kill:
        process.held.discard(key)
        process.running.discard(key)
    for key in agreed.cancel & process.running:
        process.running.discard(key)
        process.outcomes[key] = Cause.INTERRUPTED
    process.missing = agreed.missing
    give_back(world, process, {key[0]: key[1] for key in agreed.hand_back}, session=session, cause=Cause.INTERRUPTED)
    for key in agreed.hand_back:
        process.held.discard(key)


def give_back(
    world: World, process: Process, fences: dict[str, int | None], *, session: str | None, cause: Cause
) -> None:
    """`handlers/reap.py: give_back`."""
    db, rules = process.db, world.rules
    for name in sorted(fences):
        job = db.jobs.get(name)
        if job is None or name in db.locked or not rules.owns(job, fence=fences[name], session=session):
            continue
        step = rules.next_state(job, cause)
        if not isinstance(step, Step):
            raise Broken("I3", f"{name} in {job.state} is given back with {step}")
        db.end_attempt(job)
        db.move(job, step, rules, at=world.now)
        world.children_of_ended(db, job)


def reap(world: World, process: Process, rng: Random, *, well: bool = False) -> None:
    """`Timers._reap`: by both clocks, or by the proof that a process is gone; then the orphans."""
    db, rules = process.db, world.rules
    others = [(name, row) for name, row in sorted(db.workers.items()) if not row.reaped and name != process.session]
    for name, worker in others:
        expired = rules.expired(worker, db_now=world.db_now)
        dead = process.watch.observe(name, beat=worker.beat, expired=expired, at=world.now)
        if not dead and name not in world.proven_gone:
            continue
        if not rules.seizes(worker, beat=worker.beat):
            continue
        worker.reaped = True
        if not well and rng.random() < 0.2:
            return
        held: dict[str, int | None] = {row.job_id: None for row in db.leases.values() if row.session == name}
        give_back(world, process, held, session=name, cause=Cause.WORKER_LOST)
    process.watch.keep({name for name, _ in others})
    lost: dict[str, int | None] = {
        row.job_id: None for row in db.leases.values()
        if rules.orphaned(row.claimed_at, db.workers.get(row.session), db_now=world.db_now)
    }  # fmt: skip
    give_back(world, process, lost, session=None, cause=Cause.WORKER_LOST)


def fire_timers(world: World, process: Process) -> None:
    db, rules, now = process.db, world.rules, moment(world.now)
    for name in sorted(db.jobs):
        job = db.jobs[name]
        due = job.run_at is not None and job.run_at <= now and name not in db.locked
        if due and job.state in (S.SCHEDULED, S.RETRY_WAIT):
            step = rules.next_state(job, Cause.START_DUE)
            if isinstance(step, Step):
                db.move(job, step, rules, at=world.now)


__all__ = ["ACTIVE", "beat", "claim", "commit_slow", "finish", "fire_timers", "give_back", "reap", "tool_ends"]
