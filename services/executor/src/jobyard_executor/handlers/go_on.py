"""Runs that go on by themselves: laid out when they start, in pages when much is due at once, and cancelled.

Each call is one transaction of bounded size about one run. A run stays on the list until nothing of it is left to do,
so a process that dies in the middle is followed by any other.
"""

from __future__ import annotations

import asyncpg
import msgspec
from jobyard_common.contracts.jobs import JobState
from jobyard_common.contracts.references import Source, Unresolved, follow, references_of
from jobyard_common.contracts.workflows import Graph
from jobyard_common.db.connection import Connection
from jobyard_common.db.errors import is_poison

from jobyard_executor.domain.job import Cause, Step, next_state
from jobyard_executor.domain.workflow import RUN_ENDED, Plan, RunState, StepRow, StepState
from jobyard_executor.handlers.advance_runs import Advance, plan_of
from jobyard_executor.handlers.children import resolve_children
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.move import move
from jobyard_executor.handlers.start_runs import Again
from jobyard_executor.handlers.step_room import look_again, step_room
from jobyard_executor.store import jobs, runs, workflows

PAGE = 500
_encode = msgspec.json.Encoder().encode


class Unstartable(Exception):
    """A run that cannot begin; code and message become its error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def go_on(engine: Engine, pool: asyncpg.Pool) -> bool:
    """Go on with the run that waits longest; False if none waits."""
    stops: list[tuple[str, int]] = []
    run_id: str | None = None
    await engine.room.look()
    try:
        async with pool.acquire() as connection, connection.transaction():
            run_id = await connection.fetchval(runs.NEXT_TODO)
            if run_id is None:
                return False
            await _go_on(engine, connection, run_id, stops)
    except asyncpg.PostgresError as error:
        if run_id is None or not is_poison(error):
            raise
        await _give_up(engine, pool, run_id, error)
        return True
    for job_id, fence in stops:
        engine.stop_running(job_id, fence)
    engine.wake_claim()
    engine.wake_relay()
    return True


async def _give_up(engine: Engine, pool: asyncpg.Pool, run_id: str, error: asyncpg.PostgresError) -> None:
    """A run whose data the database refuses would be tried for ever."""
    async with pool.acquire() as connection, connection.transaction():
        run = (await runs.lock(connection, [run_id])).get(run_id)
        await connection.execute(runs.DONE, run_id)
        if run is not None and run.state not in RUN_ENDED:
            run.error = _encode({"code": "unstorable", "message": f"{error}"[:500]}).decode()
            await _end_unstarted(engine, connection, run, state=RunState.FAILED)


async def _go_on(engine: Engine, connection: Connection, run_id: str, stops: list[tuple[str, int]]) -> None:
    # Jobs are locked before their run: look first, lock then.
    active = [row[0] for row in await connection.fetch(runs.CANCEL_WANTED, run_id, PAGE)]
    if active:
        await _cancel_jobs(engine, connection, run_id, active, stops)
        await connection.execute(runs.LATER, run_id)
        return
    run = (await runs.lock(connection, [run_id])).get(run_id)
    await connection.execute(runs.DONE, run_id)
    if run is None or run.state in RUN_ENDED:
        return
    if run.state is RunState.STARTING:
        await _begin(engine, connection, run)
    elif run.steps == 0:
        await _end_unstarted(engine, connection, run, state=RunState.CANCELLED)
    else:
        plan, given = await plan_of(engine, connection, run_id)
        room, closed = await step_room(engine, connection, run.tenant, plan, page=PAGE)
        advance = Advance(engine, connection, run, plan, given, apart=True, closed=closed)
        if advance.cancelling:
            await advance.cancel_waiting()
        else:
            await advance.take_due(limit=PAGE)
            await advance.begin_items(room=room)
        await _close(engine, connection, advance, room=room, closed=closed)
        if advance.cancelling and run.jobs_open:
            await _look_again(connection, run_id)


async def _close(
    engine: Engine, connection: Connection, advance: Advance, *, room: int, closed: frozenset[int]
) -> None:
    await advance.close(room=room)
    engine.room.take(advance.run.tenant, advance.born)
    if advance.run.state is RunState.RUNNING:
        await look_again(connection, advance.run.run_id, closed)


async def _look_again(connection: Connection, run_id: str) -> None:
    """Jobs that were born while we looked."""
    if await connection.fetchval(runs.CANCEL_WANTED, run_id, 1) is not None:
        await runs.put_todo(connection, [run_id])


async def _cancel_jobs(
    engine: Engine, connection: Connection, run_id: str, job_ids: list[str], stops: list[tuple[str, int]]
) -> None:
    actor = await connection.fetchval(runs.ACTOR, run_id)
    locked = await jobs.lock(connection, job_ids)
    write = engine.write(locked.epoch)
    now = engine.clock.now()
    for job in locked.jobs.values():
        step = next_state(job, Cause.CANCEL_ASKED)
        if isinstance(step, Step):
            move(write, job, step, now=now, actor=actor)
        if job.state is JobState.CANCELLING:
            stops.append((job.job_id, job.fence))
    await write.flush(connection)
    await resolve_children(engine, connection, write.terminal)


async def _begin(engine: Engine, connection: Connection, run: runs.Run) -> None:
    """Lay out the steps of a run, and begin those that wait for nothing."""
    try:
        plan, given = await _read(connection, run)
    except Unstartable as error:
        run.error = _encode({"code": error.code, "message": str(error)[:2000]}).decode()
        await _end_unstarted(engine, connection, run, state=RunState.FAILED)
        return
    engine.run_memory.keep(run.run_id, plan, given)
    rows = {no: StepRow(no, StepState.WAITING, pending=len(step.after)) for no, step in enumerate(plan.steps)}
    if run.again is not None and run.origin_id is not None:
        await _keep(connection, run, plan, rows)
    for row in rows.values():
        if row.pending == 0 and row.state is StepState.WAITING:
            row.state = StepState.DUE
    await runs.add_steps(connection, run.run_id, list(rows.values()))
    run.state, run.started_at = RunState.RUNNING, max(engine.clock.now(), run.created_at)
    run.steps = len(rows)
    run.steps_open = sum(row.state is not StepState.SUCCEEDED for row in rows.values())
    room, closed = await step_room(engine, connection, run.tenant, plan, page=PAGE)
    advance = Advance(engine, connection, run, plan, given, apart=True, closed=closed)
    advance.lay_out(rows)
    advance.later = any(row.state is StepState.ACTIVE for row in rows.values())
    await _close(engine, connection, advance, room=room, closed=closed)


async def _read(connection: Connection, run: runs.Run) -> tuple[Plan, object]:
    """Raises Unstartable."""
    graph, text = await runs.texts(connection, run.run_id)
    if graph is None:
        found = await workflows.find(connection, run.tenant, run.name)
        if found is None:
            raise Unstartable("unknown_workflow", f"There is no workflow {run.name!r}.")
        graph, run.workflow_id, run.name, run.version = found.graph, found.workflow_id, found.name, found.version
    try:
        plan = Plan(msgspec.json.decode(graph, type=Graph))
        given = {**_object(plan.graph.input), **_object(text)}
        _check(plan, given)
    except (msgspec.DecodeError, ValueError, KeyError, RecursionError) as error:
        raise Unstartable("malformed_graph", f"This is no graph of steps: {error}") from None
    await connection.execute(
        runs.SET_TEXTS, run.run_id, graph, run.workflow_id, run.name, run.version, _encode(given).decode()
    )
    return plan, given


def _object(text: str | msgspec.Raw) -> dict[str, object]:
    return msgspec.json.decode(text, type=dict[str, object])


def _check(plan: Plan, given: object) -> None:
    """Raises Unstartable for a circle, and for a reference to input that nobody gave."""
    if circle := plan.circle():
        raise Unstartable("malformed_graph", f"These steps wait for each other: {', '.join(circle[:10])}.")
    for no, step in enumerate(plan.steps):
        listed = msgspec.json.decode(step.for_each) if step.for_each is not None else None
        for reference in references_of([plan.template(no), step.files, listed]):
            if reference.source is Source.INPUT:
                try:
                    follow(given, reference)
                except Unresolved as error:
                    raise Unstartable("input_missing", f"The step {step.name!r} needs {error}") from None


async def _keep(connection: Connection, run: runs.Run, plan: Plan, rows: dict[int, StepRow]) -> None:
    """Take over what succeeded in the origin and is not to be repeated."""
    again = msgspec.json.decode(run.again or "{}", type=Again)
    if again.whole or run.origin_id is None:
        return
    before = await runs.all_steps(connection, run.origin_id)
    named = [plan.number[name] for name in again.steps]
    if not named:
        named = [no for no in rows if no not in before or before[no].state is not StepState.SUCCEEDED]
    anew = plan.after(named)
    kept = [no for no, row in before.items() if no not in anew and row.state is StepState.SUCCEEDED]
    halves = await _halves(connection, run, plan, before, named) if again.items and not again.steps else {}
    for no in kept:
        rows[no] = msgspec.structs.replace(before[no], reason="kept")
    for no in kept:
        for child, _ in plan.children[no]:
            rows[child].pending -= rows[child].state is StepState.WAITING
    for no, (good, total) in halves.items():
        rows[no] = StepRow(no, StepState.ACTIVE, pending=0, total=total, open=total - good)
        run.jobs += total - good
        run.jobs_open += total - good
    await connection.execute(runs.COPY_ITEMS, run.run_id, run.origin_id, kept)
    await connection.execute(runs.COPY_HALF, run.run_id, run.origin_id, list(halves))


async def _halves(
    connection: Connection, run: runs.Run, plan: Plan, before: dict[int, StepRow], named: list[int]
) -> dict[int, tuple[int, int]]:
    """Lists that failed in some items only, and whose parents are kept: (succeeded, all) of each."""
    behind = plan.after(child for no in named for child, _ in plan.children[no])
    failed = [
        no for no in named
        if no not in behind and no in before and before[no].total and before[no].state is not StepState.SKIPPED
    ]  # fmt: skip
    found = await connection.fetch(runs.GOOD_ITEMS, run.origin_id, failed)
    return {no: (good, total) for no, good, total in found if 0 < good < total}


async def _end_unstarted(engine: Engine, connection: Connection, run: runs.Run, *, state: RunState) -> None:
    run.state, run.finished_at = state, max(engine.clock.now(), run.created_at)
    await runs.save(connection, run)
