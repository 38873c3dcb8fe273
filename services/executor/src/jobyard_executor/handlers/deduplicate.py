"""Who holds a dedupe key when several jobs want it, and what becomes of the others.

`while_active`: the first job holds the key until it ends. `ttl`: the first job holds it for a time, ended or not.
`debounce`: the newest submit holds it and waits for silence; the one that waited before it is superseded. A job that
has started is never superseded: it runs on, and the next submit begins a new wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from jobyard_common.contracts.jobs import DedupeMode, SubmitJob
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Cause, Job, Step, next_state
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import SYSTEM, Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.store import dedupe, jobs
from jobyard_executor.store.dedupe import Claim
from jobyard_executor.store.write import Write


async def deduplicate(engine: Engine, connection: Connection, commands: Sequence[SubmitJob]) -> dict[str, str]:
    """Settle the keys of jobs about to be made; returns those that come second, with the job that holds their key."""
    known = await dedupe.existing(connection, [command.job_id for command in commands]) if commands else set()
    claims = [_claim(command) for command in commands if command.job_id not in known]
    if not claims:
        return {}
    best = _best(claims)
    debouncing = {name: claim for name, claim in best.items() if claim.mode is DedupeMode.DEBOUNCE}
    if debouncing:
        await _displace(engine, connection, debouncing)
    holders = await dedupe.take(connection, best.values())
    return {claim.job_id: holders[claim.name] for claim in claims if holders[claim.name] != claim.job_id}


def _claim(command: SubmitJob) -> Claim:
    wish = command.spec.dedupe
    assert wish is not None
    until: datetime | None = None
    if wish.mode is DedupeMode.TTL:
        until = command.accepted_at + timedelta(seconds=wish.ttl_s or 60.0)
    return Claim(command.tenant, wish.key, command.job_id, wish.mode, command.accepted_at, until)


def _best(claims: Sequence[Claim]) -> dict[dedupe.Key, Claim]:
    """The claim of each key that counts within one batch: the newest debounced one, else the first."""
    best: dict[dedupe.Key, Claim] = {}
    for claim in claims:
        rival = best.setdefault(claim.name, claim)
        if claim.mode is DedupeMode.DEBOUNCE and (rival.mode is not DedupeMode.DEBOUNCE or claim.age > rival.age):
            best[claim.name] = claim
    return best


async def _displace(engine: Engine, connection: Connection, newcomers: dict[dedupe.Key, Claim]) -> None:
    """End the debounced jobs that waited for silence and were submitted before the newcomers."""
    await dedupe.queue_up(connection, newcomers)
    holders = await dedupe.debounced(connection, newcomers)
    if not holders:
        return
    locked = await jobs.lock(connection, [job_id for _, job_id in holders.values()])
    write = engine.write(locked.epoch)
    free: list[str] = []
    for name, age in holders.items():
        job, newcomer = locked.jobs.get(age[1]), newcomers[name]
        step = next_state(job, Cause.SUPERSEDED) if job is not None else None
        if job is None or not isinstance(step, Step):
            free.append(age[1])
        elif newcomer.age > age:
            free.append(age[1])
            _supersede(engine, write, job, step, by=newcomer.job_id)
    await write.flush(connection)
    await dedupe.release(connection, free)
    await resolve_children(engine, connection, write.terminal)


def _supersede(engine: Engine, write: Write, job: Job, step: Step, *, by: str) -> None:
    job.twin_id = by
    move(write, job, step, now=engine.clock.now(), actor=SYSTEM, data=duplicate_of(by))


def duplicate_of(job_id: str) -> str:
    """What the lifecycle of a superseded job says of the one that took its place."""
    return msgspec.json.encode({"duplicate_of": job_id}).decode()
