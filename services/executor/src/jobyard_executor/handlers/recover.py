"""What an operator does after a disaster: raise the epoch, send a consumer back to where its log is whole again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import utc_now
from jobyard_common.db.connection import Connection
from jobyard_common.messaging import outbox
from jobyard_common.messaging.resume import Lost, resume

from jobyard_executor.domain.epoch import next_added
from jobyard_executor.outbound.log_look import LogLook
from jobyard_executor.store import audit, recovery

ACTOR = Actor(ActorKind.SYSTEM, "recover")
TENANT = "system"


class Stand(msgspec.Struct, frozen=True):
    """A partition of `jobs.commands`: where we read, what Kafka has, and what is wrong (empty if nothing is)."""

    row: recovery.OffsetRow
    begin: int
    end: int
    trouble: str


async def raise_epoch(connection: Connection, *, above: int) -> recovery.EpochRow:
    """Put this database into an epoch above `above` and above everything it knows.

    Every other connection to it is ended, so that each process looks again and holds its claims.

    Raises:
        ValueError: no epoch is left.
    """
    async with connection.transaction():
        await recovery.hold_added(connection)
        found = await recovery.look(connection)
        highest = max(above, found.highest or 0)
        await recovery.raise_to(connection, added=next_added(added=found.added, timeline=found.timeline, above=highest))
        now = await recovery.look(connection)
        await recovery.seen(connection, now.epoch, cause="recovered")
        detail = {"from": found.epoch, "to": now.epoch, "above": highest}
        await _tell(connection, "recovery.epoch_raised", target=str(now.epoch), detail=detail)
    await recovery.end_other_connections(connection)
    return now


async def stands(connection: Connection, log: LogLook, *, identity: str, topic: str) -> list[Stand]:
    """Every partition that was read so far."""
    spans = await log.spans(JOBS_COMMANDS)
    found = []
    for row in await recovery.offsets(connection, identity=identity, topic=topic):
        begin, end = spans.get(row.partition, (0, 0))
        found.append(Stand(row, begin, end, await _trouble(log, row, begin=begin, end=end)))
    return found


async def _trouble(log: LogLook, row: recovery.OffsetRow, *, begin: int, end: int) -> str:
    plan = resume(row.next, row.fingerprint, begin=begin, end=end)
    if isinstance(plan, Lost):
        return plan.why
    if plan.expired:
        return f"{plan.expired} records expired before they were read"
    if not plan.verify:
        return ""
    before = await log.record(JOBS_COMMANDS, row.partition, plan.seek)
    if before is None or before.fingerprint() != row.fingerprint:
        return f"the record at {plan.seek} is not the one that was read: Kafka lost some"
    return ""


async def send_back(
    connection: Connection, log: LogLook, chosen: Iterable[Stand], *, identity: str, topic: str, to: int | None
) -> dict[int, int]:
    """Read these partitions again from `to`, by default from their beginning: every command is applied once anyway.

    What Kafka lost before it was read is gone; what was read before it was lost is in the database. Returns where
    each begins now; a partition that moved meanwhile is left alone.
    """
    moved: dict[int, int] = {}
    for stand in chosen:
        target = min(max(stand.begin, stand.begin if to is None else to), stand.end)
        before = await log.record(JOBS_COMMANDS, stand.row.partition, target - 1) if target > stand.begin else None
        async with connection.transaction():
            if not await recovery.rewind(
                connection,
                identity=identity,
                topic=topic,
                row=stand.row,
                to=target,
                fingerprint=before.fingerprint() if before is not None else None,
            ):
                continue
            detail = {"topic": topic, "from": stand.row.next, "to": target, "why": stand.trouble}
            await _tell(connection, "recovery.offset_rewound", target=str(stand.row.partition), detail=detail)
        moved[stand.row.partition] = target
    return moved


async def _tell(connection: Connection, action: str, *, target: str, detail: Mapping[str, object]) -> None:
    entry = audit.record(tenant=TENANT, actor=ACTOR, action=action, target=target, at=utc_now(), detail=detail)
    await outbox.put(connection, [entry])
