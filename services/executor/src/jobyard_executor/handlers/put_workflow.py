"""A workflow gets a new version, or is deleted: one transaction with its audit entry."""

from __future__ import annotations

import hashlib

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.wire import milliseconds
from jobyard_common.contracts.workflows import Graph
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging import outbox

from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import audit, workflows
from jobyard_executor.store.workflows import Workflow

MAX_VERSIONS = 10_000


class WorkflowBody(msgspec.Struct, forbid_unknown_fields=True):
    """What the gateway has checked; `graph` is a `contracts.workflows.Graph`."""

    name: str
    graph: msgspec.Raw
    description: str = ""


async def put_workflow(
    engine: Engine, connection: Connection, body: WorkflowBody, *, caller: Caller
) -> tuple[Workflow, bool]:
    """The newest version of a name, and whether it is new: the same graph again makes none.

    Raises:
        Problem: validation_failed, or conflict when there are too many versions.
    """
    try:
        steps = len(msgspec.json.decode(body.graph, type=Graph).steps)
    except msgspec.ValidationError as error:
        raise Problem("validation_failed", errors=[FieldError("/steps", str(error))]) from None
    await connection.execute(workflows.ONE_AT_A_TIME, caller.tenant, body.name)
    hashed = hashlib.sha256(bytes(body.graph) + b"\0" + body.description.encode()).hexdigest()
    newest = await workflows.find(connection, caller.tenant, body.name)
    if newest is not None and newest.hash == hashed:
        return newest, False
    version = await connection.fetchval(workflows.LAST_VERSION, caller.tenant, body.name) + 1
    if version > MAX_VERSIONS:
        raise Problem("conflict", f"A workflow has at most {MAX_VERSIONS:,} versions.")
    now = milliseconds(engine.clock.now())
    workflow = Workflow(
        workflow_id=new_id("wfl", cell=engine.cell),
        tenant=caller.tenant,
        name=body.name,
        version=version,
        description=body.description,
        graph=bytes(body.graph).decode(),
        hash=hashed,
        steps=steps,
        actor=msgspec.json.encode(caller.actor).decode(),
        created_at=now,
    )
    await workflows.insert(connection, workflow)
    entry = audit.record(
        tenant=caller.tenant,
        actor=caller.actor,
        action="workflow.create",
        target=workflow.workflow_id,
        at=now,
        detail={"name": workflow.name, "version": version, "steps": steps},
    )
    await outbox.put(connection, [entry])
    return workflow, True


async def delete_workflow(engine: Engine, connection: Connection, workflow_id: str, *, caller: Caller) -> None:
    """Runs that began go on. Raises Problem: not_found."""
    now = engine.clock.now()
    name = await connection.fetchval(workflows.DELETE, caller.tenant, workflow_id, now)
    if name is None:
        raise Problem("not_found")
    entry = audit.record(
        tenant=caller.tenant,
        actor=caller.actor,
        action="workflow.delete",
        target=workflow_id,
        at=now,
        detail={"name": name},
    )
    await outbox.put(connection, [entry])
