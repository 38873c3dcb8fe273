"""The invariants, by the names they have in docs/reliability.md.

Some hold at every step of the way and are raised where a step would break them (`Broken` in the other files: I3, I4,
I5, I10, A4, A5, A7, A9); the rest is looked at here, after each step, at each event, and when everything is quiet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobyard_common.contracts.jobs import TERMINAL, JobState
from jobyard_executor.domain.job import ACTIVE

from tests.protocol.bus import CANCEL, SUBMIT, Command
from tests.protocol.database import Broken

if TYPE_CHECKING:
    from tests.protocol.executor import Process
    from tests.protocol.world import Event, World

S = JobState
LIMIT = 1


def check_always(world: World) -> None:
    """After each step."""
    db = world.db
    limited = 0
    for name, job in db.jobs.items():
        state = job.state
        if (state is S.QUEUED) != (name in db.ready):
            raise Broken("A11", f"{name} is {state}, and its ready row says otherwise")
        if (state in ACTIVE) != (name in db.leases):
            raise Broken("A11", f"{name} is {state}, and its lease says otherwise")
        if state in ACTIVE:
            limited += name in db.limited
            if db.leases[name].fence != job.fence:
                raise Broken("I5", f"{name} has fence {job.fence}, its lease {db.leases[name].fence}")
        ends = db.attempts.get(name, ())
        if job.attempt != len(ends) + (state in ACTIVE):
            raise Broken("I3", f"{name} is at attempt {job.attempt}, but {len(ends)} are recorded")
        if name not in world.front.first_sent:
            raise Broken("I2", f"{name} was never submitted")
        if db.ghost_births[name] > 1:
            raise Broken("A3", f"{name} was born twice")
        if name in world.purged and name not in db.ghost_ended:
            raise Broken("A16", f"{name} was purged and is back")
        if state is S.BLOCKED:
            _check_blocked(world, name)
    if limited > LIMIT:
        raise Broken("A10", f"{limited} jobs run under a limit of {LIMIT}")
    world.shelf.check(world)
    check_overlap(world)


def _check_blocked(world: World, name: str) -> None:
    db = world.db
    parents = [parent for parent, children in db.edges.items() if name in children]
    submitted = next(row.parent for row in world.commands if row.kind == SUBMIT and row.job_id == name)
    parent = db.jobs.get(submitted or "")
    if not parents and parent is not None and parent.state in TERMINAL:
        raise Broken("A2", f"{name} waits for {submitted}, which has ended")


def check_overlap(world: World, *, started: Process | None = None) -> None:
    """I6, but for what an owner cannot know that has just been frozen: it must not start anything, though."""
    seen: dict[str, str] = {}
    for process in world.processes:
        if process.frozen or process.down:
            continue
        late = process is started and world.now >= process.trusted
        if late:
            raise Broken("I6", f"{process.name} starts tools although nobody trusts it any more")
        for job_id, _ in process.running:
            if job_id in seen:
                raise Broken("I6", f"{job_id} runs in {seen[job_id]} and in {process.name}")
            seen[job_id] = process.name


def check_event(world: World, event: Event) -> None:
    """I7 and I8: what a topic tells of one job in one epoch."""
    name, born, number, state = event
    told = world.told.setdefault((name, born, number), state)
    if told is not state:
        raise Broken("I7", f"event {number} of {name} said {told}, now {state}")
    last, ended = world.published.get((name, born), (None, False))
    if last is None:
        world.published[(name, born)] = (number, state in TERMINAL)
        return
    if number <= last:
        return
    if ended:
        raise Broken("I8", f"{name} tells of {state} after its end")
    if number != last + 1:
        raise Broken("I7", f"event {number} of {name} follows {last}")
    world.published[(name, born)] = (number, state in TERMINAL)


def is_quiet(world: World) -> bool:
    """Nothing more will happen by itself."""
    db, log = world.db, world.log
    return (
        not world.front.spool
        and not world.front.late
        and not world.late_events
        and not db.outbox
        and all(job.state in TERMINAL for job in db.jobs.values())
        and max(db.offsets.get(log.identity, (0, None))[0], log.begin) == log.end
        and world.read == len(world.events)
        and not any(process.stopped for process in world.processes)
        and not world.shelf.left()
    )


def check_end(world: World) -> None:
    """When the faults are over and every part has had its time."""
    db = world.db
    if left := world.shelf.left():
        raise Broken("I13", f"nobody decides on {', '.join(left)}")
    for command in world.commands:
        if command.command_id in world.front.promised:
            _check_promise(world, command)
    for command in world.conflicts:
        _check_conflict(world, command)
    for name, job in db.jobs.items():
        if job.state not in TERMINAL:
            raise Broken("I1", f"{name} is still {job.state}")
        if name in world.projection and world.projection[name][2] is not job.state:
            raise Broken("A6", f"{name} is {job.state}, a reader says {world.projection[name][2]}")
        if name not in world.projection:
            raise Broken("I9", f"{name} is {job.state}, and no reader knows it")
    if db.outbox:
        raise Broken("I9", f"{len(db.outbox)} events were never published")
    read = max(db.offsets.get(world.log.identity, (0, None))[0], world.log.begin)
    if read != world.log.end:
        raise Broken("A8", f"the log ends at {world.log.end}, the executor is at {read}")


def _check_conflict(world: World, command: Command) -> None:
    """H12: of two bodies under one key the second is in the dead letters, and never a second job."""
    db, name = world.db, command.job_id
    first = next(row for row in world.commands if row.kind == SUBMIT and row.job_id == name)
    ids = {command.command_id, first.command_id}
    if ids & world.excused or name in world.excused or name not in db.keyed or command.poison:
        return
    loser = first if db.keyed[name] == command.body else command
    if loser.command_id in world.front.promised and not db.dead[loser.command_id]:
        raise Broken("I10", f"{loser.command_id} contradicts its key, and nobody was told")


def _check_promise(world: World, command: Command) -> None:
    db, name = world.db, command.job_id
    if command.command_id in world.excused or name in world.excused:
        return
    if command.kind == SUBMIT and command.poison:
        if not db.dead[command.command_id]:
            raise Broken("I11", f"{command.command_id} is nowhere")
        return
    if command.kind == SUBMIT and name not in db.jobs and name not in world.purged:
        raise Broken("I1", f"{name} had a promise and does not exist")
    if command.kind == CANCEL and command.command_id not in db.seen and name not in world.purged:
        raise Broken("I1", f"the cancel {command.command_id} had a promise and was never applied")
