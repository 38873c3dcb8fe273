"""Clients that ask for a job, as `JobReader` does it; between two of its questions anything may happen."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from jobyard_gateway.domain.telling import Tell, Word

from tests.protocol.bus import SUBMIT, Command
from tests.protocol.database import Broken, Database

if TYPE_CHECKING:
    from tests.protocol.world import World

OTHERS = "tnt_other"
"""A tenant that has no job."""
PARTITION = 0


@dataclass
class Asked:
    """One call that has no answer yet. `promised`: its job had a 202, and was not purged, when it began."""

    job_id: str
    tenant: str
    promised: bool
    executor: Word = Word.UNASKED
    promises: Word = Word.UNASKED
    behind: Word = Word.UNASKED
    end: int | None = None
    """The offset behind which the executor is asked again."""


def ask(world: World, rng: Random) -> None:
    """One step of a call: begin it, ask one of those who may know, or answer."""
    call = world.asked
    if call is None:
        known = [row for row in world.commands if row.kind == SUBMIT]
        if known:
            world.asked = begin(world, known[rng.randrange(len(known))], mine=rng.random() < 0.8)
        return
    step(world, call, silent=rng.random() < 0.1)


def begin(world: World, command: Command, *, mine: bool) -> Asked:
    tenant = command.tenant if mine else OTHERS
    promised = mine and command.command_id in world.front.promised and command.job_id not in world.purged
    return Asked(command.job_id, tenant, promised)


def step(world: World, call: Asked, *, silent: bool = False) -> None:
    rules = world.rules
    what = rules.tell(executor=call.executor, promises=call.promises, behind=call.behind)
    if what is Tell.ASK:
        call.executor = Word.SILENT if silent else _knows(world, call)
    elif what is Tell.ASK_PROMISES:
        if not rules.spool_before_end and call.end is None:
            call.end = world.log.end
            return
        call.promises = Word.SILENT if silent else _waits(world, call)
    elif what is Tell.ASK_BEHIND:
        if call.end is None:
            call.end = world.log.end
            return
        applied = {PARTITION: world.db.offsets.get(world.log.identity, (0, None))[0]}
        passed = rules.has_passed(applied, {PARTITION: call.end - 1} if call.end else {})
        call.behind = _knows(world, call) if passed and not silent else Word.SILENT
    else:
        world.asked = None
        _answered(world, call, what)


def _knows(world: World, call: Asked) -> Word:
    job = world.db.jobs.get(call.job_id)
    return Word.YES if job is not None and world.rules.visible(job.tenant, call.tenant) else Word.NO


def _waits(world: World, call: Asked) -> Word:
    found = [row for row in world.front.spool.values() if row.kind == SUBMIT and row.job_id == call.job_id]
    return Word.YES if any(world.rules.visible(row.tenant, call.tenant) for row in found) else Word.NO


def _answered(world: World, call: Asked, what: Tell) -> None:
    if what in (Tell.SHOW, Tell.PROMISED) and call.tenant == OTHERS:
        raise Broken("I14", f"{call.job_id} is shown to a tenant that does not own it")
    if what is not Tell.ABSENT or not call.promised or call.job_id in world.purged or call.job_id in world.excused:
        return
    poison = any(row.poison for row in world.commands if row.job_id == call.job_id)
    if not poison and call.job_id not in world.db.jobs and reads_the_log_it_knows(world, world.db):
        raise Broken("A12", f"{call.job_id} had a promise, and is said not to exist")


def reads_the_log_it_knows(world: World, db: Database) -> bool:
    """Not so between a loss of records in Kafka and its discovery: nobody can count offsets then."""
    read = db.ghost_read.get(world.log.identity, [])
    return len(read) <= world.log.end and all(
        read[offset] == world.log.records[offset].nonce for offset in range(world.log.begin, len(read))
    )
