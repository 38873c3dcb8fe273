"""Schedules whose time has come make their jobs.

take a batch, locked → what is due of each → what an unfinished job means for it → cancel what is replaced → jobs,
fires and the next time, all in one transaction. A replica that dies leaves everything as it was; another that comes
at the same time passes over the rows that are locked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec
from jobyard_common.contracts.ids import keyed_id
from jobyard_common.contracts.jobs import Actor, ActorKind, CancelJob, JobSpec, SubmitJob
from jobyard_common.contracts.schedules import Overlap
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.db.connection import Connection
from jobyard_common.db.errors import is_poison
from jobyard_common.runtime.recurrence import NotACron, UnknownZone
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.schedule import (
    LATE,
    STARTED,
    FireKind,
    FireOutcome,
    Schedule,
    Verdict,
    due,
    held,
    judge,
)
from jobyard_executor.handlers.bear_steps import know_tools
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.orders import Order, apply_orders
from jobyard_executor.handlers.submit import Submitted, submit_jobs
from jobyard_executor.store import intake
from jobyard_executor.store import schedules as store
from jobyard_executor.store.schedules import Fire

log = get_logger("schedules")
BATCH = 200
MAX_JOBS = 1000


async def fire_schedules(engine: Engine, pool: asyncpg.Pool) -> int:
    """Fire what is due, at most a batch; returns how many schedules that were.

    A schedule whose jobs the database cannot store is taken out of the batch: it ends, and says why.
    """
    try:
        return await _fire_batch(engine, pool, limit=BATCH)
    except asyncpg.PostgresError as error:
        if not is_poison(error):
            raise
    try:
        return await _fire_batch(engine, pool, limit=1)
    except asyncpg.PostgresError as error:
        if not is_poison(error):
            raise
        return await _give_up_first(engine, pool, reason=f"{type(error).__name__}: {error}")


async def _give_up_first(engine: Engine, pool: asyncpg.Pool, *, reason: str) -> int:
    async with pool.acquire() as connection, connection.transaction():
        taken = await store.take_due(connection, now=engine.clock.now(), limit=1)
        firing = Firing(engine, now=engine.clock.now())
        for schedule in taken:
            _give_up(firing, schedule, reason)
        await firing.apply(connection)
        await store.advance(connection, taken)
    return len(taken)


def _give_up(firing: Firing, schedule: Schedule, reason: str) -> None:
    log.error("schedule.unusable", schedule=schedule.id, tenant=schedule.tenant, error=reason[:300])
    assert schedule.next_at is not None
    firing.add(schedule, schedule.next_at, FireKind.TIMER, Verdict(FireOutcome.SKIPPED, "unusable"))
    schedule.next_at = None


async def _fire_batch(engine: Engine, pool: asyncpg.Pool, *, limit: int) -> int:
    now = engine.clock.now()
    await engine.room.look()
    async with pool.acquire() as connection, connection.transaction():
        taken = await store.take_due(connection, now=now, limit=limit)
        if not taken:
            return 0
        await know_tools(engine, connection)
        ids = [schedule.id for schedule in taken if schedule.overlap is not Overlap.ALLOW]
        busy = await store.unfinished(connection, ids) if ids else {}
        firing, done = Firing(engine, now=now), []
        counted = ids if all(engine.room.wide(one.tenant, 1) for one in taken) else [one.id for one in taken]
        waiting = await store.waiting(connection, counted) if counted else {}
        for schedule in taken:
            if firing.full:
                break
            _fire(firing, schedule, busy.get(schedule.id, []), waiting.get(schedule.id, 0))
            done.append(schedule)
        stops = await firing.apply(connection)
        await store.advance(connection, done)
    after_commit(engine, stops)
    return len(done)


def _fire(firing: Firing, schedule: Schedule, busy: Sequence[str], waiting: int) -> None:
    schedule.looked_at = firing.now
    try:
        found, _ = due(schedule, now=firing.now), firing.spec(schedule)
    except (NotACron, UnknownZone, WireError) as error:
        # The time zone database or a contract changed under it; the others must go on.
        _give_up(firing, schedule, str(error))
        return
    verdicts = judge(schedule.overlap, found.fires, unfinished=bool(busy), waiting=waiting)
    if firing.is_full(schedule):
        verdicts = held(verdicts, waiting=waiting)
    if found.missed is not None:
        firing.missed(schedule, *found.missed)
    for fire_at, verdict in zip(found.fires, verdicts, strict=True):
        kind = FireKind.CATCH_UP if firing.now - fire_at > LATE else FireKind.TIMER
        firing.add(schedule, fire_at, kind, verdict, replaced=busy)
    schedule.next_at = found.next_at


async def start_waiting(engine: Engine, pool: asyncpg.Pool) -> int:
    """Start fires whose turn has come: the earlier job has ended, or a backfill may run at once, and there is room in
    their queue. Returns how many."""
    await engine.room.look()
    async with pool.acquire() as connection, connection.transaction():
        taken = await store.take_waiting(connection, limit=BATCH)
        if not taken:
            return 0
        await know_tools(engine, connection)
        ids = [schedule.id for schedule in taken]
        busy = await store.unfinished(connection, ids)
        turns = await store.turns(connection, ids, limit=MAX_JOBS // 10)
        firing = Firing(engine, now=engine.clock.now())
        for schedule in taken:
            rows = turns.get(schedule.id, [])
            schedule.waiting, schedule.looked_at = bool(rows), firing.now
            at_once = [turn for turn in rows if turn.overlap is Overlap.ALLOW]
            in_turn = [] if busy.get(schedule.id) or at_once else rows[:1]
            for turn in [] if firing.full else at_once + in_turn:
                if firing.is_full(schedule):
                    break
                firing.add(schedule, turn.fire_at, FireKind(turn.kind), STARTED, overlap=turn.overlap)
        stops = await firing.apply(connection)
        await store.advance(connection, taken)
    after_commit(engine, stops)
    return firing.started


def after_commit(engine: Engine, stops: Sequence[tuple[str, int]]) -> None:
    """What must follow once the fires are durable."""
    for job_id, fence in stops:
        engine.stop_running(job_id, fence)
    engine.wake_claim()
    engine.wake_relay()


class _Template(msgspec.Struct):
    """What a fire must know of the template beside its spec."""

    queue: str | None = None


class Firing:
    """Fires of one transaction: gathered first, then applied in a handful of statements."""

    def __init__(self, engine: Engine, *, now: datetime) -> None:
        self.now = now
        self._engine = engine
        self._fires: list[Fire] = []
        self._births: list[Submitted] = []
        self._cancels: dict[str, Order] = {}
        self._specs: dict[str, JobSpec] = {}

    @property
    def started(self) -> int:
        return len(self._births)

    @property
    def full(self) -> bool:
        return len(self._births) >= MAX_JOBS

    def is_full(self, schedule: Schedule) -> bool:
        """Whether the queue of its jobs takes no more of them; an unreadable template fails elsewhere."""
        if self._engine.room.wide(schedule.tenant, 1):
            return False
        try:
            return self._engine.room.full(schedule.tenant, self.spec(schedule).queue) is not None
        except WireError:
            return False

    def add(
        self,
        schedule: Schedule,
        fire_at: datetime,
        kind: FireKind,
        verdict: Verdict,
        *,
        overlap: Overlap | None = None,
        replaced: Sequence[str] = (),
    ) -> Fire:
        """`schedule` must be locked by this transaction; `overlap` if it is not the schedule's own."""
        job_id, rule = None, overlap or schedule.overlap
        if verdict.outcome is FireOutcome.STARTED:
            job_id = schedule.job_id(fire_at, cell=self._engine.cell)
            birth = self._birth(schedule, fire_at, job_id)
            self._births.append(birth)
            self._engine.room.take(schedule.tenant, [birth.command.spec.queue])
            for other in replaced if verdict.replaces else ():
                self._cancels[other] = self._cancel(schedule, fire_at, other)
        open_ = job_id is not None and rule is not Overlap.ALLOW
        fire = Fire(
            schedule.id, fire_at, kind, verdict.outcome, verdict.reason, None, self.now, job_id, rule, open_
        )  # fmt: skip
        self._remember(schedule, fire)
        return fire

    def missed(self, schedule: Schedule, first: datetime, last: datetime) -> None:
        self._remember(
            schedule,
            Fire(
                schedule.id, first, FireKind.TIMER, FireOutcome.MISSED, f"catch_up_{schedule.catch_up}", last, self.now,
                None, schedule.overlap, False,
            ),
        )  # fmt: skip

    def _remember(self, schedule: Schedule, fire: Fire) -> None:
        self._fires.append(fire)
        schedule.waiting = schedule.waiting or fire.outcome is FireOutcome.WAITING
        schedule.last_fire_at, schedule.last_outcome, schedule.last_job_id = fire.fire_at, fire.outcome, fire.job_id

    async def apply(self, connection: Connection) -> list[tuple[str, int]]:
        """Returns (job, fence) of attempts that must stop once this is durable."""
        stops = await apply_orders(self._engine, connection, list(self._cancels.values()))
        if self._births:
            # A tool may have been retired since we last looked; such a fire ends `failed/rejected`.
            self._engine.known_tools = await intake.known_tools(connection)
        await submit_jobs(self._engine, connection, self._births)
        await store.put_fires(connection, self._fires)
        return stops

    def spec(self, schedule: Schedule) -> JobSpec:
        """Raises WireError."""
        found = self._specs.get(schedule.id)
        if found is None:
            found = decode(JobSpec, schedule.spec.encode())
            if msgspec.json.decode(schedule.template, type=_Template).queue is None:
                found = msgspec.structs.replace(found, queue=self._queue_of(found))
            self._specs[schedule.id] = found
        return found

    def _queue_of(self, spec: JobSpec) -> str:
        """Of a tool whose template names none: as things stand now, not when the schedule was made."""
        memory = self._engine.run_memory
        own = next((one.queue for one in memory.tools if one.key == f"{spec.tool}@{spec.tool_version}"), spec.queue)
        return memory.routes.get(spec.tool, own)

    def _birth(self, schedule: Schedule, fire_at: datetime, job_id: str) -> Submitted:
        spec = self.spec(schedule)
        dice = random.Random(job_id)  # noqa: S311 - spreads load, the same way whoever fires
        run_at = fire_at + timedelta(seconds=schedule.jitter_s * dice.random())
        command = SubmitJob(
            command_id=f"cmd_{job_id[4:]}",
            job_id=job_id,
            tenant=schedule.tenant,
            actor=actor_of(schedule),
            accepted_at=self.now,
            spec=msgspec.structs.replace(spec, run_at=run_at),
            keyed=True,
            schedule_id=schedule.id,
        )
        trace = self._engine.tracer.root().format()
        return Submitted(command, f"{schedule.id}.{int(fire_at.timestamp() * 1000)}", trace, made_by="schedule")

    def _cancel(self, schedule: Schedule, fire_at: datetime, job_id: str) -> Order:
        micros = str(int(fire_at.timestamp() * 1_000_000))
        command_id = keyed_id(
            "cmd", schedule.secret, tenant=schedule.tenant, operation="replace", target=job_id, key=micros
        )
        return Order(
            CancelJob(command_id, job_id, schedule.tenant, actor_of(schedule)), self._engine.tracer.root().format()
        )


def actor_of(schedule: Schedule) -> Actor:
    return Actor(ActorKind.SCHEDULE, schedule.id)
