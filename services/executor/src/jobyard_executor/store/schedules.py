"""Schedules and their fires.

A schedule's row is locked before any job: nobody locks a job first and a schedule after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.schedules import CatchUp, Overlap
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.schedule import FireOutcome, Schedule

COLUMNS = Schedule.__struct_fields__
_LIST = ", ".join(COLUMNS)
_PLACES = ", ".join(f"${place}" for place in range(1, len(COLUMNS) + 1))
_REPLACED = (
    "name", "template", "spec", "cron", "timezone", "interval_s", "at", "overlap", "catch_up", "starts_at", "ends_at",
    "jitter_s", "paused", "anchor", "changed_at", "next_at", "version",
)  # fmt: skip

INSERT = f"INSERT INTO schedule ({_LIST}) VALUES ({_PLACES}) ON CONFLICT (id) DO NOTHING RETURNING id"
_SET = ", ".join(f"{name} = ${place}" for place, name in enumerate(_REPLACED, 3))
REPLACE = f"UPDATE schedule SET {_SET} WHERE tenant = $1 AND id = $2"
GET = f"SELECT {_LIST} FROM schedule WHERE tenant = $1 AND id = $2"
LOCK = f"{GET} FOR UPDATE"
DELETE = "DELETE FROM schedule WHERE tenant = $1 AND id = $2"
COUNT = "SELECT count(*)::int FROM (SELECT FROM schedule WHERE tenant = $1 LIMIT $2) c"
PAGE = f"""
SELECT {_LIST} FROM schedule
WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3)) AND ($4::text IS NULL OR name = $4)
ORDER BY created_at DESC, id DESC LIMIT $5
"""
DUE = f"""
SELECT {_LIST} FROM schedule WHERE next_at <= $1 AND NOT paused
ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
WAITING = f"SELECT {_LIST} FROM schedule WHERE waiting ORDER BY looked_at LIMIT $1 FOR UPDATE SKIP LOCKED"
PENDING = """
SELECT EXISTS (SELECT FROM schedule WHERE next_at <= $1 AND NOT paused), EXISTS (SELECT FROM schedule WHERE waiting)
"""
ADVANCE = """
UPDATE schedule s SET next_at = n.next_at, waiting = n.waiting, looked_at = n.looked_at,
    last_fire_at = n.last_fire_at, last_outcome = n.last_outcome, last_job_id = n.last_job_id
FROM unnest($1::text[], $2::timestamptz[], $3::boolean[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[])
    AS n (id, next_at, waiting, looked_at, last_fire_at, last_outcome, last_job_id)
WHERE s.id = n.id
"""
PUT_FIRES = """
INSERT INTO schedule_fire AS f (schedule_id, fire_at, kind, outcome, reason, until, recorded_at, job_id, overlap, open)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
    $7::timestamptz[], $8::text[], $9::text[], $10::boolean[])
ON CONFLICT (schedule_id, fire_at) DO UPDATE SET kind = excluded.kind, outcome = excluded.outcome,
    reason = excluded.reason, recorded_at = excluded.recorded_at, job_id = excluded.job_id, open = excluded.open
WHERE f.job_id IS NULL
"""
TAKEN = "SELECT fire_at FROM schedule_fire WHERE schedule_id = $1 AND fire_at = ANY($2::timestamptz[]) AND {}"
OPEN = "SELECT schedule_id, fire_at, job_id FROM schedule_fire WHERE schedule_id = ANY($1::text[]) AND open"
UNFINISHED = """
SELECT job_id FROM job WHERE job_id = ANY($1::text[]) AND state NOT IN ('succeeded', 'failed', 'cancelled', 'expired')
"""
CLOSE = """
UPDATE schedule_fire f SET open = false FROM unnest($1::text[], $2::timestamptz[]) AS d (schedule_id, fire_at)
WHERE f.schedule_id = d.schedule_id AND f.fire_at = d.fire_at
"""
COUNT_WAITING = """
SELECT schedule_id, count(*)::int FROM schedule_fire
WHERE schedule_id = ANY($1::text[]) AND outcome = 'waiting' GROUP BY 1
"""
TURN = """
SELECT schedule_id, fire_at, kind, overlap FROM unnest($1::text[]) AS s (id), LATERAL (
    SELECT schedule_id, fire_at, kind, overlap FROM schedule_fire f
    WHERE f.schedule_id = s.id AND outcome = 'waiting' ORDER BY fire_at LIMIT $2) w
"""
FIRES = """
SELECT f.fire_at, f.kind, f.outcome, f.reason, f.until, f.recorded_at, f.job_id FROM schedule_fire f
WHERE f.schedule_id = $1 AND ($2::timestamptz IS NULL OR f.fire_at < $2) ORDER BY f.fire_at DESC LIMIT $3
"""
STATES = "SELECT job_id, state, reason FROM job WHERE job_id = ANY($1::text[])"
FORGET = """
DELETE FROM schedule_fire WHERE (schedule_id, fire_at) IN (
    SELECT schedule_id, fire_at FROM schedule_fire
    WHERE recorded_at < $1 AND outcome <> 'waiting' AND NOT open ORDER BY recorded_at LIMIT $2)
"""


class Fire(msgspec.Struct):
    """A row of `schedule_fire`. `until` ends a range of missed fires; `open` as long as its job may not have ended."""

    schedule_id: str
    fire_at: datetime
    kind: str
    outcome: FireOutcome
    reason: str | None
    until: datetime | None
    recorded_at: datetime
    job_id: str | None
    overlap: Overlap
    open: bool


class Turn(msgspec.Struct):
    """A fire that waits."""

    schedule_id: str
    fire_at: datetime
    kind: str
    overlap: Overlap


def _of(row: Any) -> Schedule:
    found = Schedule(*row)
    found.overlap, found.catch_up = Overlap(found.overlap), CatchUp(found.catch_up)
    return found


async def insert(connection: Connection, schedule: Schedule) -> bool:
    """False if there is one of this id."""
    return await connection.fetchval(INSERT, *msgspec.structs.astuple(schedule)) is not None


async def replace(connection: Connection, tenant: str, schedule: Schedule) -> None:
    await connection.execute(REPLACE, tenant, schedule.id, *(getattr(schedule, name) for name in _REPLACED))


async def get(connection: Any, tenant: str, schedule_id: str) -> Schedule | None:
    row = await connection.fetchrow(GET, tenant, schedule_id)
    return None if row is None else _of(row)


async def lock(connection: Connection, tenant: str, schedule_id: str) -> Schedule | None:
    row = await connection.fetchrow(LOCK, tenant, schedule_id)
    return None if row is None else _of(row)


async def delete(connection: Connection, tenant: str, schedule_id: str) -> None:
    await connection.execute(DELETE, tenant, schedule_id)


async def count(connection: Connection, tenant: str, *, most: int) -> int:
    return int(await connection.fetchval(COUNT, tenant, most))


async def page(
    connection: Any, tenant: str, *, after: tuple[datetime, str] | None, name: str | None, limit: int
) -> list[Schedule]:
    """Newest first."""
    position = after or (None, None)
    return [_of(row) for row in await connection.fetch(PAGE, tenant, *position, name, limit)]


async def pending(connection: Any, *, now: datetime) -> tuple[bool, bool]:
    """Whether fires are due, and whether some wait: what an idle executor asks twice a second."""
    row = await connection.fetchrow(PENDING, now)
    return bool(row[0]), bool(row[1])


async def take_due(connection: Connection, *, now: datetime, limit: int) -> list[Schedule]:
    """Lock schedules whose time has come; those that another replica fires at this moment are left to it."""
    return [_of(row) for row in await connection.fetch(DUE, now, limit)]


async def take_waiting(connection: Connection, *, limit: int) -> list[Schedule]:
    """Lock schedules that have fires waiting, the longest unseen first."""
    return [_of(row) for row in await connection.fetch(WAITING, limit)]


async def advance(connection: Connection, schedules: Iterable[Schedule]) -> None:
    """Store how far schedules have come."""
    rows = sorted(schedules, key=lambda schedule: schedule.id)
    names = ("id", "next_at", "waiting", "looked_at", "last_fire_at", "last_outcome", "last_job_id")
    await connection.execute(ADVANCE, *([getattr(row, name) for row in rows] for name in names))


async def put_fires(connection: Connection, fires: Sequence[Fire]) -> None:
    """Record fires; one that was waiting, skipped or missed may become another, one that has its job stays."""
    names = Fire.__struct_fields__
    if fires:
        await connection.execute(PUT_FIRES, *([getattr(fire, name) for fire in fires] for name in names))


async def taken(connection: Connection, schedule_id: str, moments: Sequence[datetime]) -> set[datetime]:
    """Those of the moments that have a job, or wait for one."""
    clause = "(job_id IS NOT NULL OR outcome = 'waiting')"
    return {row[0] for row in await connection.fetch(TAKEN.format(clause), schedule_id, list(moments))}


async def recorded(connection: Connection, schedule_id: str, moment: datetime) -> bool:
    return bool(await connection.fetch(TAKEN.format("true"), schedule_id, [moment]))


async def unfinished(connection: Connection, schedule_ids: Sequence[str]) -> dict[str, list[str]]:
    """Jobs of these schedules that have not ended; forgets the rest."""
    rows = await connection.fetch(OPEN, list(schedule_ids))
    if not rows:
        return {}
    alive = {row[0] for row in await connection.fetch(UNFINISHED, sorted(row["job_id"] for row in rows))}
    done = [row for row in rows if row["job_id"] not in alive]
    if done:
        await connection.execute(CLOSE, [row["schedule_id"] for row in done], [row["fire_at"] for row in done])
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["job_id"] in alive:
            found.setdefault(row["schedule_id"], []).append(row["job_id"])
    return found


async def waiting(connection: Connection, schedule_ids: Sequence[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in await connection.fetch(COUNT_WAITING, list(schedule_ids))}


async def turns(connection: Connection, schedule_ids: Sequence[str], *, limit: int) -> dict[str, list[Turn]]:
    """The first fires that wait, of each schedule, in the order of their times."""
    found: dict[str, list[Turn]] = {}
    for row in await connection.fetch(TURN, list(schedule_ids), limit):
        turn = Turn(row["schedule_id"], row["fire_at"], row["kind"], Overlap(row["overlap"]))
        found.setdefault(turn.schedule_id, []).append(turn)
    return found


async def fires(connection: Any, schedule_id: str, *, before: datetime | None, limit: int) -> list[dict[str, Any]]:
    """Newest first, with the state of each job as it is now; `job_state` is None once the job is forgotten."""
    rows = [dict(row) for row in await connection.fetch(FIRES, schedule_id, before, limit)]
    ids = [row["job_id"] for row in rows if row["job_id"]]
    states = {row[0]: (row[1], row[2]) for row in await connection.fetch(STATES, ids)} if ids else {}
    for row in rows:
        row["job_state"], row["job_reason"] = states.get(row["job_id"], (None, None))
    return rows


async def forget(connection: Any, *, before: datetime, limit: int) -> None:
    await connection.execute(FORGET, before, limit)
