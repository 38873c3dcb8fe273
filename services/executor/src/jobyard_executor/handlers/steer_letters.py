"""What people do about dead letters: a job runs again or is given up, a record goes back to its topic or is dropped."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import ReplayJob
from jobyard_common.contracts.wire import OptionalRaw
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import Caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging import outbox
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.telemetry.context import current_trace, new_trace

from jobyard_executor.domain.dead_message import Place, is_stale, replay_of
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.orders import Order, Outcome, apply_orders
from jobyard_executor.store import audit, bulk
from jobyard_executor.store import dead_letters as store
from jobyard_executor.store.dead_letters import HandledMessage


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    parameters: OptionalRaw = None
    note: str | None = None


class DiscardBody(msgspec.Struct, forbid_unknown_fields=True):
    note: str | None = None


class ReplayMessageBody(msgspec.Struct, forbid_unknown_fields=True):
    """`value` replaces the record's; `force` sends one so old that it may be applied a second time."""

    value: str | None = None
    note: str | None = None
    force: bool = False


async def replay_letter(
    engine: Engine, connection: Connection, job_id: str, body: ReplayBody, *, caller: Caller
) -> str:
    """Run a dead job again, with other parameters if they are given; returns the new job's id.

    Raises:
        Problem: conflict when somebody was first.
    """
    done = await store.handled(connection, caller.tenant, [job_id])
    if job_id in done:
        raise Problem("conflict", f"It was {done[job_id].action} already.")
    trace = (current_trace.get() or new_trace(sampled=False)).format()
    command = ReplayJob(
        new_id("cmd", cell=engine.cell), job_id, caller.tenant, caller.actor, new_id("job", cell=engine.cell),
        body.parameters,
    )  # fmt: skip
    await apply_orders(engine, connection, [Order(command, trace, note=body.note)])
    outcome = (await bulk.outcomes(connection, [command.command_id]))[command.command_id]
    if outcome != Outcome.APPLIED:
        raise Problem(outcome)
    detail = {"new_job_id": command.new_job_id, "edited": body.parameters is not None, "note": body.note}
    await _audit(engine, connection, caller, "dead_letter.replayed", job_id, detail)
    return command.new_job_id


async def discard_letter(
    engine: Engine, connection: Connection, job_id: str, body: DiscardBody, *, caller: Caller
) -> None:
    """Raises Problem: conflict when somebody was first."""
    actor, now = msgspec.json.encode(caller.actor).decode(), engine.clock.now()
    done = await store.discard(connection, caller.tenant, [job_id], note=body.note, actor=actor, at=now)
    if not done:
        raise Problem("conflict", "Somebody has done something about it already.")
    await _audit(engine, connection, caller, "dead_letter.discarded", job_id, {"note": body.note})


async def replay_message(
    engine: Engine, connection: Connection, record: Inbound, body: ReplayMessageBody, *, caller: Caller
) -> None:
    """Send a record to its topic again: same key, same headers, and a mark that counts its replays.

    Raises:
        Problem: conflict when somebody was first, or when the record is so old that it needs `force`.
    """
    if not body.force and is_stale(record, now=engine.clock.now()):
        raise Problem(
            "conflict",
            "The record is older than 10 days: what it did may have been forgotten, and it may be applied again.",
            errors=[FieldError("/force", "Say true to send it all the same.")],
        )
    edited = body.value is not None
    value = body.value.encode() if body.value is not None else record.value
    await _handle(engine, connection, record, "replayed", body.note, caller=caller, edited=edited)
    await outbox.put(connection, [replay_of(record, value=value, by=f"{caller.actor.kind}:{caller.actor.id}")])


async def discard_message(
    engine: Engine, connection: Connection, record: Inbound, body: DiscardBody, *, caller: Caller
) -> None:
    """Raises Problem: conflict when somebody was first."""
    await _handle(engine, connection, record, "discarded", body.note, caller=caller, edited=False)


async def _handle(
    engine: Engine,
    connection: Connection,
    record: Inbound,
    action: str,
    note: str | None,
    *,
    caller: Caller,
    edited: bool,
) -> None:
    place, actor = Place(record.topic, record.partition, record.offset), msgspec.json.encode(caller.actor).decode()
    row = HandledMessage(
        place.topic, place.partition, place.offset, record.fingerprint(), action, edited, note, actor,
        engine.clock.now(),
    )  # fmt: skip
    if not await store.handle_message(connection, row):
        raise Problem("conflict", "Somebody has done something about it already.")
    detail: dict[str, object] = {"edited": edited, "note": note, "reason": record.header("dlt-reason")}
    await _audit(engine, connection, caller, f"dead_message.{action}", str(place), detail)


async def _audit(
    engine: Engine, connection: Connection, caller: Caller, action: str, target: str, detail: dict[str, object]
) -> None:
    entry = audit.record(
        tenant=caller.tenant, actor=caller.actor, action=action, target=target, at=engine.clock.now(), detail=detail
    )
    await outbox.put(connection, [entry])
