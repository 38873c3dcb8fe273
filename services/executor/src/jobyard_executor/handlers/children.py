"""What the end of jobs means for those that depend on them.

Called after the ended jobs were stored, so that its first query sees every child that another transaction had added
before it could have read their old state. Failures pass on: a child that cannot start any more ends its own children.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from jobyard_common.contracts.jobs import JobError, JobSpec, JobState
from jobyard_common.contracts.wire import decode
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Cause, Job, Step, next_state
from jobyard_executor.handlers.context import SYSTEM, Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.store import edges, jobs
from jobyard_executor.store.write import Write


async def resolve_children(engine: Engine, connection: Connection, ended: Sequence[Job]) -> bool:
    """Unblock or fail the children of `ended`, and go on with their runs; returns whether a job became ready."""
    unblocked = False
    placed: list[Job] = []
    while ended:
        placed += [job for job in ended if job.place is not None]
        succeeded = {job.job_id for job in ended if job.state is JobState.SUCCEEDED}
        open_edges = await edges.close(connection, [job.job_id for job in ended])
        if not open_edges:
            break
        children: dict[str, list[str]] = {}
        for parent_id, child_id in open_edges:
            children.setdefault(child_id, []).append(parent_id)
        locked = await jobs.lock(connection, children)
        write = engine.write(locked.epoch)
        for child_id, child in locked.jobs.items():
            unblocked |= _resolve(engine, write, child, parents=children[child_id], succeeded=succeeded)
        await write.flush(connection)
        ended = write.terminal
    # Last, because a run is locked after every job.
    return await engine.advance_runs(engine, connection, placed) or unblocked if placed else unblocked


def _resolve(engine: Engine, write: Write, child: Job, *, parents: Sequence[str], succeeded: set[str]) -> bool:
    if child.state is not JobState.BLOCKED:
        return False
    failed = [parent for parent in parents if parent not in succeeded]
    child.pending -= len(parents) - len(failed)
    if not failed and child.pending > 0:
        write.changed(child)
        return False
    unblock(engine, write, child, failed_parent=failed[0] if failed else None)
    return not failed


def unblock(engine: Engine, write: Write, child: Job, *, failed_parent: str | None) -> None:
    """End the wait of a blocked job: its parents are done, or one of them never will be."""
    now = engine.clock.now()
    spec = decode(JobSpec, child.spec.encode())
    cause = Cause.PARENTS_DONE
    if failed_parent is not None:
        cause = Cause.PARENT_FAILED
        text = f"The job depends on {failed_parent}, which did not succeed."
        child.error = msgspec.json.encode(JobError("dependency_failed", text, None, None, False, 0)).decode()
    elif spec.run_at is not None and spec.run_at > now:
        cause = Cause.PARENTS_DONE_EARLY
    step = next_state(child, cause)
    if isinstance(step, Step):
        move(write, child, step, now=now, actor=SYSTEM, spec=spec)
