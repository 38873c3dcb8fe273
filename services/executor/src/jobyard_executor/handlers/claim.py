"""Free slots take waiting jobs: who may run here, whose turn it is, and under which fence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import JobSpec, JobState
from jobyard_common.contracts.wire import decode
from jobyard_common.db.connection import Connection
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.context import TraceContext, parse
from jobyard_common.telemetry.tracing import Kind, Span

from jobyard_executor.domain import lane as lanes
from jobyard_executor.domain.assignment import Assignment, InputFile
from jobyard_executor.domain.job import Cause, Job, Step, next_state
from jobyard_executor.domain.lane import FairShare, Lane, runnable
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import claiming
from jobyard_executor.store.write import Write

RULES_S = 0.5


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
    fair: FairShare = field(default_factory=FairShare)
    standing: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()
    _rules_until: float = 0.0
    _cursor: str = ""
    _parsed: dict[str, Lane] = field(default_factory=dict)

    def offer(self, tools: frozenset[tuple[str, str]]) -> None:
        """Claim these tools from now on."""
        self.tools = tools
        self.engine.wake_claim()

    async def claim(self, session: str, *, free: Mapping[str, int], claim_id: str | None = None) -> list[Held] | None:
        """Take as many jobs as fit; an empty list if none waits, None if the session is not alive any more."""
        async with self.pool.acquire() as connection:
            waiting = await self._lanes(connection)
            if not waiting:
                return []
            async with connection.transaction():
                if not await claiming.alive(connection, session):
                    return None
                return await self._take(connection, waiting, session, free, claim_id or new_id("clm"))

    async def _lanes(self, connection: Connection) -> list[tuple[str, Lane]]:
        found = await claiming.lanes(connection, after=self._cursor)
        self._cursor = found[-1] if len(found) == claiming.MAX_LANES else ""
        fit = [(text, self._parse(text)) for text in found]
        fit = [(text, lane) for text, lane in fit if runnable(lane, tools=self.tools, levels=self.levels)]
        if fit:
            await self._look_at_rules(connection)
        return [(text, lane) for text, lane in fit if lane.queue not in self.paused]

    async def _look_at_rules(self, connection: Connection) -> None:
        """Pauses and declared limits change rarely: they take effect within `RULES_S`."""
        now = self.engine.clock.monotonic()
        if now < self._rules_until:
            return
        self.paused = await claiming.paused_queues(connection)
        self.standing = await claiming.standing_limits(connection)
        self._rules_until = now + RULES_S

    def _parse(self, text: str) -> Lane:
        lane = self._parsed.get(text)
        if lane is None:
            if len(self._parsed) > 10_000:
                self._parsed.clear()
            lane = self._parsed[text] = lanes.parse(text)
        return lane

    async def _take(
        self,
        connection: Connection,
        waiting: list[tuple[str, Lane]],
        session: str,
        free: Mapping[str, int],
        claim_id: str,
    ) -> list[Held]:
        keys = {key for _, lane in waiting for key in lane.limits() if key.startswith("key:") or key in self.standing}
        room = await claiming.room(connection, keys)
        plan = lanes.plan(waiting, free=free, room=room, fair=self.fair)
        if not plan.orders:
            return []
        taken = await claiming.take(connection, plan)
        write = self.engine.write(taken.epoch)
        now = self.engine.clock.now()
        held = []
        for job, fence in taken.rows:
            write.drop("unready", job.job_id)
            started = self._start(write, job, fence, session=session, claim_id=claim_id, now=now)
            if started is not None:
                held.append(started)
        await write.flush(connection)
        self._account(held)
        return held

    def _start(self, write: Write, job: Job, fence: int, *, session: str, claim_id: str, now: datetime) -> Held | None:
        if not isinstance(next_state(job, Cause.CLAIMED), Step):
            return None
        spec = decode(JobSpec, job.spec.encode())
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
        write.event(job, "started", at=job.started_at, actor=self.engine.worker_actor, spec=spec)
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
        charged: dict[str, int] = {}
        for one in held:
            key = f"{one.job.tenant}/{one.spec.fairness_key or ''}"
            charged[key] = charged.get(key, 0) + 1
            if one.job.started_at and one.job.queued_at:
                waited = (one.job.started_at - one.job.queued_at).total_seconds()
                metrics.JOB_WAIT.labels(queue=one.spec.queue).observe(waited)
        self.fair.charge(charged)


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
