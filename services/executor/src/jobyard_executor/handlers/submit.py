"""Submits become jobs: a whole batch in a handful of statements, however often its records are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, assert_never

import msgspec
from jobyard_common.contracts.jobs import TERMINAL, JobError, JobSpec, JobState, Reason, SubmitJob
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.runtime.breath import in_breaths

from jobyard_executor.domain.birth import Born, born, contradicts
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.newborn import Newborn
from jobyard_executor.handlers.answer_from_cache import cached_answers, store_answer
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.deduplicate import deduplicate, duplicate_of
from jobyard_executor.store import intake, jobs
from jobyard_executor.store.write import Write

S = JobState
_encode = msgspec.json.Encoder().encode


class Submitted(msgspec.Struct):
    """A submit and the record that brought it; a job made by another command has no record to refuse."""

    command: SubmitJob
    correlation_id: str
    traceparent: str
    inbound: Inbound | None = None
    made_by: str | None = None
    place: str | None = None


class _Birth(msgspec.Struct):
    submitted: Submitted
    job: Job
    verb: str
    pending: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    answer: Any = None
    data: str | None = None


async def submit_jobs(
    engine: Engine, connection: Connection, batch: Sequence[Submitted], *, born: list[Newborn] | None = None
) -> list[Refused]:
    """Make the jobs that do not exist yet; refuse a keyed id that comes again with another body.

    `born` is given the jobs that may start at once.
    """
    if not batch:
        return []
    firsts, again = _distinct(batch)
    births = await _births(engine, connection, firsts)
    fresh, epoch = await jobs.insert(connection, [birth.job for birth in births])
    write = engine.write(epoch)
    async for some in in_breaths([birth for birth in births if birth.job.job_id in fresh]):
        for birth in some:
            _store(engine, write, birth)
            if born is not None and birth.job.state is S.QUEUED:
                born.append(Newborn(birth.job, birth.submitted.command.spec))
    await write.flush(connection)
    await resolve_children(engine, connection, write.terminal)
    repeated = [row for row in batch if row.command.job_id not in fresh] + again
    return await _conflicts(engine, connection, repeated)


def _distinct(batch: Sequence[Submitted]) -> tuple[list[Submitted], list[Submitted]]:
    firsts: dict[str, Submitted] = {}
    again = []
    for row in batch:
        if row.command.job_id in firsts:
            again.append(row)
        else:
            firsts[row.command.job_id] = row
    return list(firsts.values()), again


async def _births(engine: Engine, connection: Connection, batch: Sequence[Submitted]) -> list[_Birth]:
    await _know_tools(engine, connection, batch)
    tombstones = await intake.tombstones(connection, [row.command.job_id for row in batch])
    parents = await intake.parents(connection, {p for row in batch for p in row.command.spec.depends_on})
    now = engine.clock.now()
    answers = await cached_answers(connection, [row.command for row in batch], now=now)

    def birth_of(row: Submitted, *, holder: str | None = None) -> _Birth:
        birth = _Birth(row, _new_job(row, now=now), "queued", answer=answers.get(row.command.job_id))
        _decide(engine, birth, tombstones=tombstones, parents=parents, holder=holder, now=now)
        return birth

    births: list[_Birth] = []
    async for some in in_breaths(batch):
        births += [birth_of(row) for row in some]
    # Only what would live wants its key.
    wanting = [birth.submitted.command for birth in births if birth.job.state not in TERMINAL and _dedupes(birth)]
    if not wanting:
        return births
    holders = await deduplicate(engine, connection, wanting)
    return [
        birth_of(birth.submitted, holder=holders[birth.job.job_id]) if birth.job.job_id in holders else birth
        for birth in births
    ]


def _dedupes(birth: _Birth) -> bool:
    return birth.submitted.command.spec.dedupe is not None


async def _know_tools(engine: Engine, connection: Connection, batch: Sequence[Submitted]) -> None:
    wanted = {(row.command.spec.tool, row.command.spec.tool_version) for row in batch}
    if not wanted <= engine.known_tools:
        engine.known_tools = await intake.known_tools(connection)


def _new_job(row: Submitted, *, now: datetime) -> Job:
    command = row.command
    return Job(
        job_id=command.job_id,
        tenant=command.tenant,
        state=S.QUEUED,
        reason=None,
        dead=False,
        event_no=1,
        born_ms=int(now.timestamp() * 1000),
        attempt=0,
        failures=0,
        lost=0,
        interrupted=0,
        fence=0,
        session=None,
        worker=None,
        created_at=command.accepted_at,
        run_at=command.spec.run_at,
        queued_at=None,
        started_at=None,
        finished_at=None,
        output_seq=0,
        pending=0,
        timers=False,
        correlation_id=row.correlation_id,
        traceparent=row.traceparent,
        run_trace=None,
        origin_id=command.origin_id,
        parent_id=command.parent_id,
        actor=_encode(command.actor).decode(),
        spec=_encode(command.spec).decode(),
        error=None,
        progress=None,
        schedule_id=command.schedule_id,
        place=row.place,
    )


def _decide(
    engine: Engine,
    birth: _Birth,
    *,
    tombstones: dict[str, str],
    parents: dict[str, str],
    holder: str | None,
    now: datetime,
) -> None:
    """The first state of a job, in which it is born with event 1."""
    job, spec = birth.job, birth.submitted.command.spec
    birth.done = tuple(parent for parent in spec.depends_on if parents.get(parent) == S.SUCCEEDED)
    birth.pending = tuple(parent for parent in dict.fromkeys(spec.depends_on) if parents.get(parent) not in TERMINAL)
    failed = [parent for parent in spec.depends_on if parents.get(parent) in TERMINAL and parent not in birth.done]
    first = born(
        tombstone=job.job_id in tombstones,
        tool_known=(spec.tool, spec.tool_version) in engine.known_tools,
        superseded=holder is not None,
        parent_failed=bool(failed),
        past_deadline=spec.deadline_at is not None and spec.deadline_at <= now,
        parents_pending=bool(birth.pending),
        early=spec.run_at is not None and spec.run_at > now,
        cached=birth.answer is not None,
    )
    if first is Born.CANCELLED:
        job.actor = tombstones[job.job_id]
        _end(birth, S.CANCELLED, Reason.USER, now=now)
    elif first is Born.TOOL_RETIRED:
        _end(birth, S.FAILED, Reason.REJECTED, now=now)
        text = f"No executor knows {spec.tool} in version {spec.tool_version} any more."
        job.error = _encode(JobError("tool_retired", text, None, None, False, 0)).decode()
    elif first is Born.SUPERSEDED:
        assert holder is not None
        _end(birth, S.CANCELLED, Reason.SUPERSEDED, now=now)
        job.twin_id, birth.data = holder, duplicate_of(holder)
    elif first is Born.PARENT_FAILED:
        _end(birth, S.FAILED, Reason.DEPENDENCY_FAILED, now=now)
        text = f"The job depends on {failed[0]}, which did not succeed."
        job.error = _encode(JobError("dependency_failed", text, None, None, False, 0)).decode()
    elif first is Born.EXPIRED:
        _end(birth, S.EXPIRED, Reason.DEADLINE, now=now)
    elif first is Born.BLOCKED:
        job.state, birth.verb, job.pending = S.BLOCKED, "blocked", len(birth.pending)
    elif first is Born.SCHEDULED:
        job.state, birth.verb = S.SCHEDULED, "scheduled"
    elif first is Born.QUEUED:
        job.queued_at = max(now, job.created_at)
    elif first is Born.CACHED:
        _end(birth, S.SUCCEEDED, None, now=now)
        job.queued_at, job.twin_id = job.finished_at, birth.answer["job_id"]
    else:
        assert_never(first)
    job.timers = job.state is S.SCHEDULED or spec.deadline_at is not None or spec.ttl_s is not None


def _end(birth: _Birth, state: JobState, reason: Reason | None, *, now: datetime) -> None:
    birth.job.state, birth.job.reason, birth.verb = state, reason, state.value
    birth.job.finished_at = max(now, birth.job.created_at)
    birth.pending = ()


def _store(engine: Engine, write: Write, birth: _Birth) -> None:
    job, command = birth.job, birth.submitted.command
    spec = command.spec
    now = job.queued_at or job.finished_at or max(engine.clock.now(), job.created_at)
    row = (
        job.job_id,
        job.tenant,
        job.created_at,
        spec.tool,
        spec.queue,
        job.correlation_id,
        job.parent_id,
        job.origin_id,
        birth.submitted.made_by,
    )
    labels = labels_of(spec)
    if job.place is not None:
        labels.append(f"w:{job.place.partition(':')[0]}")
    if labels:
        write.add("labelled", *row, _encode(labels).decode())
    else:
        write.add("listed", *row)
    if command.keyed:
        write.add("keyed", job.job_id, job.tenant, command.body_hash, now + engine.keyed_life)
    if job.state not in TERMINAL:
        for parent in birth.pending:
            write.add("edges", parent, job.job_id, False)
        for parent in birth.done if birth.pending else ():
            write.add("edges", parent, job.job_id, True)
        if spec.deadline_at is not None:
            write.add("timed", job.job_id, "deadline", spec.deadline_at)
    if job.state is S.BLOCKED:
        write.add("blocked", job.job_id, job.tenant, now)
    if job.state is S.SUCCEEDED:
        birth.data = store_answer(write, job, birth.answer)
    write.entered(job, spec=spec)
    write.event(job, birth.verb, at=now, actor=job.actor, spec=spec, data=birth.data)


def labels_of(spec: JobSpec) -> list[str]:
    """Tags and metadata as one list of texts, for one index: `t:<tag>` and `m:<key>=<value>`."""
    found = [f"t:{tag}" for tag in spec.tags]
    if bytes(spec.metadata) != b"{}":
        for key, value in msgspec.json.decode(spec.metadata).items():
            text = value if isinstance(value, str) else _encode(value).decode()
            found.append(f"m:{key}={text}")
    return found


async def _conflicts(engine: Engine, connection: Connection, repeated: Sequence[Submitted]) -> list[Refused]:
    keyed = [row for row in repeated if row.command.keyed and row.inbound is not None]
    if not keyed:
        return []
    known = await intake.body_hashes(connection, [row.command.job_id for row in keyed])
    refused = []
    for row in keyed:
        assert row.inbound is not None
        job_id = row.command.job_id
        if not contradicts(known.get(job_id), row.command.body_hash):
            continue
        text = f"The key of {job_id} was used before with another body; the first job is untouched."
        refused.append(Refused(row.inbound, "idempotency_conflict", text))
        await intake.note_conflict(connection, row.command, at=engine.clock.now())
    return refused
