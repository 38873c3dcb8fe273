"""Commands about runs: start, cancel, retry. Ingest only writes them down; `handlers/go_on.py` does what they ask for.

A run is made once, because its id comes with the command. Cancel and retry are remembered by their command id.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from jobyard_common.contracts.workflows import CancelRun, Graph, RetryRun, StartRun
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused

from jobyard_executor.domain.birth import contradicts
from jobyard_executor.domain.workflow import RUN_ENDED, RunState
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.orders import Outcome
from jobyard_executor.store import commands, intake, runs

_encode = msgspec.json.Encoder().encode
RunCommand = StartRun | CancelRun | RetryRun
WRONG_STEPS = "validation_failed"


class Again(msgspec.Struct):
    """Which steps a run repeats of its origin; none means those that did not succeed. `items` says that a list keeps
    the items that did: its input is the same."""

    steps: tuple[str, ...] = ()
    whole: bool = False
    items: bool = False


class RunOrder(msgspec.Struct):
    command: RunCommand
    correlation_id: str
    traceparent: str
    inbound: Inbound


async def apply_run_orders(engine: Engine, connection: Connection, orders: Sequence[RunOrder]) -> list[Refused]:
    """In the order of their records for each run; refuses a keyed start that comes again with another body."""
    refused = []
    for order in sorted(orders, key=lambda order: order.command.run_id):
        command = order.command
        if isinstance(command, StartRun):
            refused += await _start(engine, connection, order, command)
            continue
        if await commands.seen(connection, [command.command_id]):
            continue
        if isinstance(command, CancelRun):
            outcome, target = await _cancel(connection, command), command.run_id
        else:
            outcome, target = await _retry(connection, order, command)
        write = engine.write(0)
        write.add("seen", command.command_id, command.tenant, outcome, target, engine.clock.now())
        await write.flush(connection)
    return refused


async def _start(engine: Engine, connection: Connection, order: RunOrder, command: StartRun) -> list[Refused]:
    run = _new_run(order, command, run_id=command.run_id)
    run.name = command.name or command.workflow or ""
    graph = None if command.graph is None else bytes(command.graph).decode()
    if await runs.insert(connection, run, graph=graph, given=bytes(command.input).decode()):
        if command.keyed:
            write = engine.write(0)
            expires_at = engine.clock.now() + engine.keyed_life
            write.add("keyed", run.run_id, run.tenant, command.body_hash, expires_at)
            await write.flush(connection)
        await runs.put_todo(connection, [run.run_id])
        return []
    known = (await intake.body_hashes(connection, [run.run_id])).get(run.run_id)
    if not command.keyed or not contradicts(known, command.body_hash):
        return []
    text = f"The key of {run.run_id} was used before with another body; the first run is untouched."
    return [Refused(order.inbound, "idempotency_conflict", text)]


def _new_run(order: RunOrder, command: StartRun | RetryRun, *, run_id: str) -> runs.Run:
    return runs.Run(
        run_id=run_id,
        tenant=command.tenant,
        workflow_id=None,
        name="",
        version=None,
        state=RunState.STARTING,
        error=None,
        actor=_encode(command.actor).decode(),
        correlation_id=order.correlation_id,
        traceparent=order.traceparent,
        origin_id=None,
        again=None,
        created_at=command.accepted_at,
        started_at=None,
        finished_at=None,
        steps=0,
        steps_open=0,
        jobs=0,
        jobs_open=0,
        failures=0,
    )


async def _cancel(connection: Connection, command: CancelRun) -> str:
    run = (await runs.lock(connection, [command.run_id])).get(command.run_id)
    if run is None or run.tenant != command.tenant:
        return Outcome.NOT_FOUND
    if run.state in RUN_ENDED:
        return Outcome.JOB_FINISHED
    run.state = RunState.CANCELLING
    await runs.save(connection, run)
    await runs.put_todo(connection, [run.run_id])
    return Outcome.APPLIED


async def _retry(connection: Connection, order: RunOrder, command: RetryRun) -> tuple[str, str]:
    """The outcome, and the run that it is about."""
    origin = (await runs.lock(connection, [command.run_id])).get(command.run_id)
    if origin is None or origin.tenant != command.tenant:
        return Outcome.NOT_FOUND, command.run_id
    if origin.state not in RUN_ENDED:
        return Outcome.JOB_NOT_FINISHED, command.run_id
    graph, given = await runs.texts(connection, command.run_id)
    if command.steps and not _known(graph, command.steps):
        return WRONG_STEPS, command.run_id
    run = _new_run(order, command, run_id=command.new_run_id)
    run.workflow_id, run.name, run.version = origin.workflow_id, origin.name, origin.version
    run.correlation_id = origin.correlation_id
    run.origin_id = origin.run_id
    run.again = _encode(Again(command.steps, command.whole, items=command.input is None)).decode()
    if command.input is not None:
        given = bytes(command.input).decode()
    await runs.insert(connection, run, graph=graph, given=given)
    await runs.put_todo(connection, [run.run_id])
    return Outcome.APPLIED, run.run_id


def _known(graph: str | None, steps: Sequence[str]) -> bool:
    if graph is None:
        return False
    names = {step.name for step in msgspec.json.decode(graph, type=Graph).steps}
    return names.issuperset(steps)
