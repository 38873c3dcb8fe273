"""Commands about jobs that exist: cancel, retry, replay, reschedule. Each is applied once and leaves its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from jobyard_common.contracts.jobs import (
    TERMINAL,
    CancelJob,
    JobSpec,
    JobState,
    ReplayJob,
    RescheduleJob,
    RetryJob,
    SubmitJob,
)
from jobyard_common.contracts.wire import decode
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound

from jobyard_executor.domain.birth import leaves_tombstone
from jobyard_executor.domain.job import Cause, Job, Refusal, Step, next_state
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.handlers.submit import Submitted, submit_jobs
from jobyard_executor.store import commands as store
from jobyard_executor.store import jobs
from jobyard_executor.store.write import Write

OrderCommand = CancelJob | RetryJob | ReplayJob | RescheduleJob


class Outcome(StrEnum):
    APPLIED = "applied"
    JOB_FINISHED = "job_finished"
    JOB_NOT_FINISHED = "job_not_finished"
    NOT_FOUND = "not_found"


class Order(msgspec.Struct):
    command: OrderCommand
    traceparent: str
    inbound: Inbound | None = None
    note: str | None = None


async def apply_orders(engine: Engine, connection: Connection, orders: Sequence[Order]) -> list[tuple[str, int]]:
    """Apply orders of distinct jobs; returns (job, fence) of attempts that must stop once this is durable."""
    known = await store.seen(connection, [order.command.command_id for order in orders])
    todo = [order for order in orders if order.command.command_id not in known]
    if not todo:
        return []
    locked = await jobs.lock(connection, [order.command.job_id for order in todo])
    write = engine.write(locked.epoch)
    now = engine.clock.now()
    stops: list[tuple[str, int]] = []
    born: list[Submitted] = []
    for order in todo:
        command = order.command
        job = locked.jobs.get(command.job_id)
        if job is None or job.tenant != command.tenant:
            outcome, target = _unknown(write, command, exists=job is not None, now=now), command.job_id
        elif isinstance(command, CancelJob):
            outcome, target = _cancel(write, job, command, stops, now=now), job.job_id
        elif isinstance(command, RescheduleJob):
            outcome, target = _reschedule(write, job, command, now=now), job.job_id
        elif isinstance(command, RetryJob):
            outcome, target = await _retry(connection, write, job, order, born, now=now)
        else:
            outcome, target = _replay(write, job, order, born, now=now)
        write.add("seen", command.command_id, command.tenant, outcome.value, target, now)
    await write.flush(connection)
    await resolve_children(engine, connection, write.terminal)
    await submit_jobs(engine, connection, born)
    return stops


def _actor(command: OrderCommand) -> str:
    return msgspec.json.encode(command.actor).decode()


def _unknown(write: Write, command: OrderCommand, *, exists: bool, now: datetime) -> Outcome:
    """A cancel may overtake its submit: the job is then born cancelled."""
    if leaves_tombstone(cancel=isinstance(command, CancelJob), exists=exists):
        write.add("tombstones", command.job_id, command.tenant, _actor(command), now)
    return Outcome.NOT_FOUND


def _cancel(write: Write, job: Job, command: CancelJob, stops: list[tuple[str, int]], *, now: datetime) -> Outcome:
    step = next_state(job, Cause.CANCEL_ASKED)
    if step is Refusal.FINISHED:
        return Outcome.JOB_FINISHED
    if isinstance(step, Step):
        move(write, job, step, now=now, actor=_actor(command))
    if job.state is JobState.CANCELLING:
        stops.append((job.job_id, job.fence))
    return Outcome.APPLIED


def _reschedule(write: Write, job: Job, command: RescheduleJob, *, now: datetime) -> Outcome:
    if job.state in TERMINAL:
        return Outcome.JOB_FINISHED
    if job.state is not JobState.SCHEDULED:
        return Outcome.JOB_NOT_FINISHED
    job.run_at = command.run_at
    job.event_no += 1
    write.add("timed", job.job_id, "start", job.run_at)
    write.changed(job)
    write.event(job, "scheduled", at=now, actor=_actor(command))
    return Outcome.APPLIED


async def _retry(
    connection: Connection, write: Write, job: Job, order: Order, born: list[Submitted], *, now: datetime
) -> tuple[Outcome, str]:
    assert isinstance(order.command, RetryJob)
    if job.state is JobState.SUCCEEDED:
        return Outcome.JOB_FINISHED, job.job_id
    if job.state not in TERMINAL:
        step = next_state(job, Cause.RETRY_ASKED)
        if not isinstance(step, Step):
            return Outcome.JOB_NOT_FINISHED, job.job_id
        move(write, job, step, now=now, actor=_actor(order.command))
        return Outcome.APPLIED, job.job_id
    running = await store.unfinished_retry(connection, job.job_id, tenant=job.tenant)
    if running is None:
        born.append(_copy(job, order, now=now, made_by="retry"))
        _handled(write, job, order, now=now)
    return Outcome.APPLIED, running or order.command.new_job_id


def _replay(write: Write, job: Job, order: Order, born: list[Submitted], *, now: datetime) -> tuple[Outcome, str]:
    assert isinstance(order.command, ReplayJob)
    if job.state not in TERMINAL:
        return Outcome.JOB_NOT_FINISHED, job.job_id
    born.append(_copy(job, order, now=now, made_by="replay"))
    _handled(write, job, order, now=now)
    return Outcome.APPLIED, order.command.new_job_id


def _handled(write: Write, job: Job, order: Order, *, now: datetime) -> None:
    """A dead job that runs again is no open dead letter any more, whichever way somebody asked for it."""
    command = order.command
    assert isinstance(command, RetryJob | ReplayJob)
    if job.dead:
        row = (job.job_id, job.tenant, "replayed", command.new_job_id, order.note, _actor(command), now)
        write.add("lettered", *row)


def _copy(job: Job, order: Order, *, now: datetime, made_by: str) -> Submitted:
    """A new job with the same work; what belonged to the time of the first one is left out."""
    command = order.command
    assert isinstance(command, RetryJob | ReplayJob)
    spec = decode(JobSpec, job.spec.encode())
    spec = msgspec.structs.replace(spec, run_at=None, deadline_at=None, depends_on=(), dedupe=None)
    if spec.cache is not None:
        # Who asks for another run wants a run; with other parameters the key is no longer the input's.
        changed = isinstance(command, ReplayJob) and command.parameters is not None
        spec = msgspec.structs.replace(spec, cache=None if changed else msgspec.structs.replace(spec.cache, read=False))
    if isinstance(command, ReplayJob) and command.parameters is not None:
        spec = msgspec.structs.replace(spec, parameters=command.parameters)
    submit = SubmitJob(
        command_id=command.command_id,
        job_id=command.new_job_id,
        tenant=command.tenant,
        actor=command.actor,
        accepted_at=now,
        spec=spec,
        origin_id=job.job_id,
        parent_id=job.parent_id,
    )
    return Submitted(submit, job.correlation_id, order.traceparent, made_by=made_by)
