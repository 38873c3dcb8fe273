"""Free slots take waiting jobs: who may run here, whose turn it is, and under which fence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import JobSpec, JobState
from jobyard_common.contracts.wire import decode
from jobyard_common.db.connection import Connection
from jobyard_common.runtime.breath import in_breaths
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.context import TraceContext, parse
from jobyard_common.telemetry.tracing import Kind, Span

from jobyard_executor.domain.assignment import Assignment, InputFile
from jobyard_executor.domain.fairness import FairTree
from jobyard_executor.domain.job import Cause, Job, Step, next_state
from jobyard_executor.domain.lane import Lane, runnable
from jobyard_executor.domain.lane import parse as parse_lane
from jobyard_executor.domain.plan import Waiting
from jobyard_executor.domain.plan import plan as make_plan
from jobyard_executor.domain.portion import Portion
from jobyard_executor.domain.work_queues import WorkQueues
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.walk import Walk
from jobyard_executor.store import claiming
from jobyard_executor.store.claiming import Room
from jobyard_executor.store.rules import rules
from jobyard_executor.store.write import Write

RULES_S = 0.5
MOST_KNOWN = 10_000
NEXT_STEP_S = 0.01
MOST_EMPTY = 5
"""Steps of the walk that may find nothing at that pace; then the walk goes on with the poll."""
_NO_LIMITS = Room({}, frozenset(), None, frozenset())


class Held(msgspec.Struct):
    """An attempt of ours, from its claim until its end is committed."""

    job: Job
    spec: JobSpec
    assignment: Assignment
    span: Span
    progress: str | None = None
    progress_stored: str | None = None
    last_seq: int = 0

    @property
    def key(self) -> tuple[str, int]:
        return self.job.job_id, self.assignment.fence


@dataclass
class Claimer:
    """Claims for one worker session at a time. `free` is by isolation, as the runner counts it."""

    engine: Engine
    pool: asyncpg.Pool
    tools: frozenset[tuple[str, str]]
    levels: frozenset[str]
    queues: WorkQueues = field(default_factory=WorkQueues)
    version: str = ""
    roles: tuple[str, ...] = ("work",)
    busy_queues: Callable[[], Iterable[str]] = tuple
    """The queue of each job that runs here, asked only where a queue has a pool of its own."""
    fair: FairTree = field(default_factory=FairTree)
    held_until: float = 0.0
    """Nothing is claimed before this, by the monotonic clock."""
    wait_s: float | None = None
    """After an empty claim: when another may find something, because a rate allows a start again or because the walk
    has not seen all lanes; None if only news can help."""
    _empty: int = 0
    _limits: frozenset[str] = frozenset()
    _paused: frozenset[str] = frozenset()
    _rules_until: float = 0.0
    _portion: Portion = field(default_factory=Portion)
    _walk: Walk = field(default_factory=Walk)
    _parsed: dict[str, Lane] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)

    def offer(self, tools: frozenset[tuple[str, str]]) -> None:
        """Claim these tools from now on."""
        self.tools = tools
        self.engine.wake_claim()

    async def claim(self, session: str, *, free: Mapping[str, int], claim_id: str | None = None) -> list[Held] | None:
        """Take as many jobs as fit; an empty list if none waits, None if the session is not alive any more."""
        self.wait_s = None
        found = await self._claim(session, free, claim_id or new_id("clm"))
        self._empty = 0 if found else self._empty + 1
        if not found and self._walk.begun and self._empty < MOST_EMPTY:
            self.wait_s = NEXT_STEP_S
        return found

    async def _claim(self, session: str, free: Mapping[str, int], claim_id: str) -> list[Held] | None:
        if self.engine.clock.monotonic() < self.held_until:
            return []
        async with self.pool.acquire() as connection:
            waiting = await self._lanes(connection)
            if not waiting:
                return []
            async with connection.transaction():
                standing = await claiming.alive(connection, session)
                if standing is None:
                    return None
                self._paused = standing.paused
                waiting = [row for row in waiting if row.lane.queue not in standing.paused]
                if standing.drained or not waiting:
                    return []
                return await self._take(connection, waiting, session, free, claim_id)

    async def _lanes(self, connection: Connection) -> list[Waiting]:
        """Lanes that may run here; a walk that ended behind the last of them begins anew."""
        due = self.engine.clock.monotonic() >= self._rules_until
        without: frozenset[str] = frozenset() if due else self._paused
        for _ in range(2):
            begun = self._walk.begun
            found = await self._walk.step(connection, queues=self.queues.names, without=without)
            fit = []
            for row in found:
                if row.lane is None or row.first is None:
                    continue
                lane = self._parse(row.lane)
                if runnable(lane, tools=self.tools, levels=self.levels):
                    fit.append(Waiting(row.lane, lane, row.first))
            if fit or not begun:
                break
        if fit or (due and self._paused):
            await self._look_at_rules(connection)
        return fit

    async def _look_at_rules(self, connection: Connection) -> None:
        """Limits and weights change rarely: they take effect within `RULES_S`. Pauses are read in every claim."""
        now = self.engine.clock.monotonic()
        if now < self._rules_until:
            return
        found = await rules(connection)
        self._limits, self.fair.weights = found.limits, found.weights
        self._rules_until = now + RULES_S

    def _parse(self, text: str) -> Lane:
        lane = self._parsed.get(text)
        if lane is None:
            if len(self._parsed) > MOST_KNOWN:
                self._parsed.clear()
            lane = self._parsed[text] = parse_lane(text)
        return lane

    async def _take(
        self,
        connection: Connection,
        waiting: list[Waiting],
        session: str,
        free: Mapping[str, int],
        claim_id: str,
    ) -> list[Held]:
        room = await self._room(connection, waiting)
        now_s = self.engine.clock.monotonic()
        portion = self._portion.of(free, (row.lane for row in waiting), now=now_s)
        plan = make_plan(waiting, free=portion, room=room.left, tree=self.fair)
        if not plan.orders:
            self.wait_s = room.wait_s
            return []
        taken = await claiming.take(connection, plan, self.engine.newborns)
        write = self.engine.write(taken.epoch)
        now, actor = self.engine.clock.now(), self.engine.worker_actor
        held = []
        async for some in in_breaths(taken.rows):
            for job, fence, known in some:
                write.drop("unready", job.job_id)
                spec = known or decode(JobSpec, job.spec.encode())
                started = self._start(write, job, spec, fence, session=session, claim_id=claim_id, now=now, actor=actor)
                if started is not None:
                    held.append(started)
        if room.rated:
            await self._spend(connection, held, room.rated)
        await write.flush(connection)
        self._account(held)
        return held

    async def _room(self, connection: Connection, waiting: list[Waiting]) -> Room:
        keys = {key for row in waiting for key in row.lane.limits() if key.startswith("key:") or key in self._limits}
        found = _NO_LIMITS
        if keys:
            made = sorted(key for key in keys if key.startswith("key:") and key not in self._made)
            if made:
                await claiming.make_limits(connection, made)
                self._made = {*made} if len(self._made) > MOST_KNOWN else {*self._made, *made}
            found = await claiming.room(connection, sorted(keys))
            self._made -= found.gone
        if self.queues.pools:
            busy = Counter(self.busy_queues())
            pools = {f"pool:{queue}": max(0, slots - busy[queue]) for queue, slots in self.queues.pools.items()}
            found = msgspec.structs.replace(found, left={**found.left, **pools})
        return found

    async def _spend(self, connection: Connection, held: list[Held], rated: frozenset[str]) -> None:
        starts: Counter[str] = Counter()
        for one in held:
            spec, tenant = one.spec, one.job.tenant
            keys = (f"queue:{spec.queue}", f"tool:{spec.tool}", f"tenant:{tenant}")
            starts.update(key for key in (*keys, f"key:{tenant}/{spec.concurrency_key}") if key in rated)
        if starts:
            await claiming.spend(connection, starts)

    def _start(
        self,
        write: Write,
        job: Job,
        spec: JobSpec,
        fence: int,
        *,
        session: str,
        claim_id: str,
        now: datetime,
        actor: str,
    ) -> Held | None:
        if not isinstance(next_state(job, Cause.CLAIMED), Step):
            return None
        span = self._span(job, spec)
        job.state, job.reason, job.error = JobState.RUNNING, None, None
        job.event_no += 1
        job.attempt += 1
        job.fence, job.session, job.worker = fence, session, self.engine.instance
        job.started_at = max(now, job.queued_at or now)
        job.run_trace = span.context.format()
        write.started(job)
        write.add(
            "leased", job.job_id, fence, session, claim_id, job.tenant, spec.queue, spec.tool, spec.concurrency_key,
            job.attempt, job.started_at,
        )  # fmt: skip
        write.event(job, "started", at=job.started_at, actor=actor, spec=spec)
        return Held(job, spec, _assignment(job, spec, span.context), span)

    def _span(self, job: Job, spec: JobSpec) -> Span:
        before = parse(job.run_trace)
        return self.engine.tracer.span(
            f"run {spec.tool}",
            kind=Kind.INTERNAL,
            parent=parse(job.traceparent),
            links=[before] if before else (),
            attributes={
                "job.id": job.job_id,
                "job.attempt": job.attempt + 1,
                "job.tool": spec.tool,
                "job.task_type": spec.tool,
                "job.priority": spec.priority,
                "correlation.id": job.correlation_id,
            },
        )

    def _account(self, held: list[Held]) -> None:
        charged = Counter((one.job.tenant, one.spec.fairness_key or "", one.spec.queue) for one in held)
        waits = {queue: metrics.JOB_WAIT.labels(queue=queue) for _, _, queue in charged}
        for one in held:
            if one.job.started_at and one.job.queued_at:
                waits[one.spec.queue].observe((one.job.started_at - one.job.queued_at).total_seconds())
        self.engine.started += len(held)
        self.fair.charge(charged)
        self.engine.flow.went(charged)


def _assignment(job: Job, spec: JobSpec, trace: TraceContext) -> Assignment:
    return Assignment(
        job_id=job.job_id,
        tenant=job.tenant,
        attempt=job.attempt,
        fence=job.fence,
        tool=spec.tool,
        version=spec.tool_version,
        parameters=spec.parameters,
        timeout_s=spec.timeout_s,
        soft_timeout_s=spec.soft_timeout_s,
        deadline_at=spec.deadline_at,
        files=tuple(InputFile(slot, file_id) for slot, file_id in spec.files.items()),
        correlation_id=job.correlation_id,
        traceparent=trace.format(),
    )
