"""Children that a tool asked for are born with the success of its attempt: in its finish, under its fence, or never."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import Actor, SubmitJob
from jobyard_common.contracts.wire import milliseconds
from jobyard_common.contracts.workflows import Step
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.assignment import Outcome
from jobyard_executor.domain.child import ChildJob, ChildRefused, child_id, read_child
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.step_spec import pinned, step_spec
from jobyard_executor.handlers.bear_steps import know_tools
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.submit import Submitted, submit_jobs

_actor = msgspec.json.Decoder(Actor).decode


async def bear_children(engine: Engine, connection: Connection, parents: Iterable[tuple[Job, Outcome]]) -> None:
    """`parents` have just succeeded, and their outcomes are stored in this transaction."""
    await know_tools(engine, connection)
    now = milliseconds(engine.clock.now())
    born = [_born(engine, job, child, now=now) for job, outcome in parents for child in outcome.children]
    await submit_jobs(engine, connection, [one for one in born if one is not None])


def _born(engine: Engine, parent: Job, child: ChildJob, *, now: datetime) -> Submitted | None:
    """None for what no worker of ours would have let through."""
    try:
        body = read_child(bytes(child.body))
        step = Step(
            name="child",
            tool=body.tool,
            queue=body.queue,
            priority=body.priority,
            delay_s=body.delay_s,
            ttl_s=body.ttl_s,
            timeout_s=body.timeout_s,
            soft_timeout_s=body.soft_timeout_s,
            retry=body.retry,
            fairness_key=body.fairness_key,
            concurrency_key=body.concurrency_key,
            tags=tuple(body.tags),
            metadata=body.metadata,
        )
    except ChildRefused:
        return None
    memory = engine.run_memory
    definition = pinned(body.tool, memory.tools, alive=memory.alive)
    files = {slot: file_id for slot, file_id in body.files.items() if is_id("file", file_id)}
    job_id = child_id(parent.job_id, child.key, tenant=parent.tenant)
    command = SubmitJob(
        command_id=f"cmd_{job_id[4:]}",
        job_id=job_id,
        tenant=parent.tenant,
        actor=_actor(parent.actor),
        accepted_at=now,
        spec=step_spec(step, definition, parameters=body.parameters, files=files, now=now, routes=memory.routes),
        parent_id=parent.job_id,
    )
    return Submitted(command, parent.correlation_id, parent.run_trace or parent.traceparent, made_by="child")
