"""How many jobs a page of a run may make, and which steps have to wait for room in their queues."""

from __future__ import annotations

from datetime import timedelta

from jobyard_common.db.connection import Connection

from jobyard_executor.domain.step_spec import pinned, queue_of
from jobyard_executor.domain.workflow import Plan
from jobyard_executor.handlers.bear_steps import know_tools
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import runs

LOOK_AGAIN = timedelta(seconds=1)


async def step_room(
    engine: Engine, connection: Connection, tenant: str, plan: Plan, *, page: int
) -> tuple[int, frozenset[int]]:
    """Jobs that may be made now, and the steps that make none. A step without a known tool makes no job that waits."""
    if engine.room.wide(tenant, page):
        return page, frozenset()
    await know_tools(engine, connection)
    memory = engine.run_memory
    queues: dict[tuple[str, str | None], str | None] = {}
    closed: set[int] = set()
    room = min(page, engine.room.of_tenant(tenant))
    for no, step in enumerate(plan.steps):
        kind = (step.tool, step.queue)
        if kind not in queues:
            definition = pinned(step.tool, memory.tools, alive=memory.alive)
            queues[kind] = None if definition is None else queue_of(step, definition, memory.routes)
        queue = queues[kind]
        if queue is None:
            continue
        if engine.room.full(tenant, queue) is not None:
            closed.add(no)
        else:
            room = min(room, engine.room.of_queue(queue))
    return max(room, 1), frozenset(closed)


async def look_again(connection: Connection, run_id: str, closed: frozenset[int]) -> None:
    """Go on with the run after a moment, if something of it waits for room."""
    if closed and await connection.fetchval(runs.ANY_DUE, run_id, sorted(closed)):
        await connection.execute(runs.TODO_LATER, run_id, LOOK_AGAIN)
