"""The engine of an executor without its process: ingest, claims and ends on a real database."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import CANCEL, SUBMIT, Actor, ActorKind, CancelJob, JobSpec, SubmitJob
from jobyard_common.contracts.wire import utc_now
from jobyard_common.db.pool import create_pool
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.publisher import OutRecord
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.telemetry.context import new_trace
from jobyard_common.telemetry.tracing import Tracer
from jobyard_executor.domain.assignment import Outcome, Verdict
from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.claim import Claimer, Held
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.finish import Ended, finish
from jobyard_executor.handlers.ingest import Ingest
from jobyard_executor.handlers.prune import keep_partitions
from jobyard_executor.handlers.watch_epoch import EpochWatch
from jobyard_executor.inbound.timers import own_identity
from jobyard_executor.store import sessions

TENANT = "tnt_test"
ACTOR = Actor(ActorKind.KEY, "key_1")
TTL = LeaseTerms().ttl
TOOL = ("test.noop", "1")


class AheadClock(SystemClock):
    """The real clock, and as much as a test adds."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def submit(job_id: str | None = None, **spec: Any) -> SubmitJob:
    given: dict[str, Any] = {
        "tool": TOOL[0],
        "tool_version": TOOL[1],
        "isolation": "async",
        "min_isolation": "L0",
        "timeout_s": 60.0,
    }
    return SubmitJob(
        command_id=new_id("cmd"), job_id=job_id or new_id("job"), tenant=TENANT, actor=ACTOR, accepted_at=utc_now(),
        spec=JobSpec(**(given | spec)),
    )  # fmt: skip


def cancel(job_id: str) -> CancelJob:
    return CancelJob(new_id("cmd"), job_id, TENANT, ACTOR)


def out_record(command: SubmitJob | CancelJob) -> OutRecord:
    kind = SUBMIT if isinstance(command, SubmitJob) else CANCEL
    trace = new_trace(sampled=False).format()
    envelope = new_envelope(kind, source="test", subject=command.job_id, correlation_id="corr-1", traceparent=trace)
    return OutRecord("jobs.commands", command.job_id, msgspec.json.encode(command), headers_of(envelope))


class Executor:
    """`open` and `close` it inside one event loop; `clock` may be moved ahead."""

    def __init__(self, dsn: str, name: str = "executor-1") -> None:
        self.dsn, self.name = dsn, name
        self.clock = AheadClock()
        self.epochs = EpochWatch(self.clock, ttl=TTL)

    async def open(self) -> None:
        self.pool = await create_pool(self.dsn, application_name=self.name, admit=self.epochs.admit, fixed_plans=True)
        self.engine = Engine(self.clock, Tracer("executor"), self.name)
        self.ingest = Ingest(self.engine)
        await keep_partitions(self.engine, self.pool)
        await self.pool.execute(
            "INSERT INTO tool_version (name, version, hash, definition, seen_at) VALUES ($1, $2, 'h', '{}', now()) "
            "ON CONFLICT DO NOTHING",
            *TOOL,
        )

    async def close(self) -> None:
        self.pool.terminate()

    async def apply(self, *commands: SubmitJob | CancelJob) -> None:
        rows = [out_record(command) for command in commands]
        records = [
            Inbound("jobs.commands", 0, 0, 0, str(row.key).encode(), row.value, row.headers) for row in rows
        ]  # fmt: skip
        async with self.pool.acquire() as connection, connection.transaction():
            await self.ingest.apply(connection, records)

    async def open_session(self) -> str:
        session = new_id("ses")
        async with self.pool.acquire() as connection:
            await sessions.open_session(
                connection, session, own_identity(self.name), ttl=TTL, tools=[], levels=["L0"], slots="{}"
            )
        return session

    async def claim(self, session: str, *, slots: int = 10) -> list[Held]:
        claimer = Claimer(self.engine, self.pool, frozenset({TOOL}), frozenset({"L0"}))
        return await claimer.claim(session, free={"async": slots}) or []

    async def finish(self, held: Held) -> None:
        outcome = Outcome(
            job_id=held.job.job_id, attempt=held.job.attempt, fence=held.assignment.fence, verdict=Verdict.SUCCEEDED,
            started_at=utc_now(), finished_at=utc_now(), run_ms=1, value=msgspec.Raw(b"null"),
        )  # fmt: skip
        await finish(self.engine, self.pool, [Ended(held, outcome)])

    async def states(self) -> dict[str, str]:
        return {row[0]: row[1] for row in await self.pool.fetch("SELECT job_id, state FROM job")}


async def once(dsn: str, sql: str, *given: Any) -> Any:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(sql, *given)
    finally:
        await connection.close()
