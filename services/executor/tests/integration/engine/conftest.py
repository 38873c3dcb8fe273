"""The engine on a real database, with a scripted runner and no broker: events are read from the outbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from jobyard_common.contracts import jobs as contract
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Actor, ActorKind, CancelJob, JobSpec, SubmitJob
from jobyard_common.db.pool import create_pool
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.messaging.publisher import OutRecord, Sent
from jobyard_common.telemetry.context import new_trace
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.claim import Claimer
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.ingest import Ingest
from jobyard_executor.handlers.prune import keep_partitions
from jobyard_executor.inbound.work import Work
from jobyard_executor.outbound.output_pump import OutputPump
from jobyard_executor.store import reading, sessions
from jobyard_executor.testing.runner import ScriptedRunner

from .run_flows import Flows, echo

TENANT = "tnt_test"
ACTOR = Actor(ActorKind.KEY, "key_1")
KINDS = {
    SubmitJob: contract.SUBMIT,
    CancelJob: contract.CANCEL,
    contract.RetryJob: contract.RETRY,
    contract.ReplayJob: contract.REPLAY,
    contract.RescheduleJob: contract.RESCHEDULE,
}


class ShiftedClock:
    """The real clock, moved ahead as far as a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead.total_seconds()


class KeptPublisher:
    """Takes every record."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []

    async def send_many(self, records: list[OutRecord], *, timeout_s: float = 10.0) -> list[Sent]:
        self.records += records
        return [Sent(0, len(self.records)) for _ in records]


class Bench:
    """One executor's parts. `work()` starts a worker session; without it nothing is claimed."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.clock = ShiftedClock()
        self.published = KeptPublisher()
        self._works: list[Work] = []

    async def open(self) -> None:
        self.pool = await create_pool(self.dsn, application_name="test")
        self.by_key = await create_pool(self.dsn, application_name="test", fixed_plans=True)
        self.engine = Engine(self.clock, Tracer("executor"), "executor-1")
        self.ingest = Ingest(self.engine)
        await keep_partitions(self.engine, self.pool)
        await self.know("test.noop", "test.noop.process", "test.noop.command")

    async def close(self) -> None:
        for work in self._works:
            await work.drain()
            await work.stop()
        await self.by_key.close()
        await self.pool.close()

    async def know(self, *tools: str) -> None:
        for tool in tools:
            await self.pool.execute(
                "INSERT INTO tool_version (name, version, hash, definition, seen_at) "
                "VALUES ($1, '1', 'h', '{}', now())",
                tool,
            )

    def claimer(self) -> Claimer:
        tools = frozenset((name, "1") for name in ("test.noop", "test.noop.process", "test.noop.command"))
        return Claimer(self.engine, self.by_key, tools, frozenset({"L0", "L1"}))

    async def work(
        self, runner: ScriptedRunner, *, terms: LeaseTerms | None = None, identity: sessions.Identity | None = None
    ) -> Work:
        pump = OutputPump(self.published, source="test", tracer=self.engine.tracer)  # type: ignore[arg-type]
        who = identity or sessions.Identity("executor-1", "here", "boot", os.getpid(), 1)
        work = Work(self.engine, self.by_key, runner, self.claimer(), pump, terms=terms or LeaseTerms(), identity=who)
        self.engine.wake_claim, self.engine.stop_running = work.wake, work.stop_running
        await pump.start()
        await work.start()
        self._works.append(work)
        return work

    def submit(self, *, job_id: str | None = None, keyed: bool = False, body_hash: str = "", **spec: Any) -> SubmitJob:
        made = {
            "tool": "test.noop",
            "tool_version": "1",
            "isolation": "async",
            "min_isolation": "L0",
            "timeout_s": 60.0,
        }
        return SubmitJob(
            command_id=new_id("cmd"),
            job_id=job_id or new_id("job"),
            tenant=TENANT,
            actor=ACTOR,
            accepted_at=self.clock.now(),
            spec=JobSpec(**(made | spec)),
            keyed=keyed,
            body_hash=body_hash,
        )

    def cancel(self, job_id: str) -> CancelJob:
        return CancelJob(new_id("cmd"), job_id, TENANT, ACTOR)

    def record(self, command: Any) -> Inbound:
        envelope = new_envelope(
            KINDS[type(command)],
            source="test",
            subject=command.job_id,
            correlation_id="corr-1",
            traceparent=new_trace(sampled=False).format(),
        )
        key, value = command.job_id.encode(), msgspec.json.encode(command)
        return Inbound("jobs.commands", 0, 0, 0, key, value, headers_of(envelope))

    async def apply(self, *commands: Any) -> list[Refused]:
        """One batch of the consumer, committed."""
        records = [self.record(command) for command in commands]
        async with self.by_key.acquire() as connection, connection.transaction():
            refused = await self.ingest.apply(connection, records)
        self.ingest.after_commit()
        return list(refused)

    async def job(self, job_id: str) -> Any:
        shown = await reading.one(self.pool, TENANT, job_id)
        return None if shown is None else shown.job

    async def until(self, job_id: str, state: str, *, timeout_s: float = 10.0) -> Any:
        async def probe() -> Any:
            found = await self.job(job_id)
            return found if found is not None and found.state == state else None

        return await eventually(probe, what=f"{job_id} is {state}", timeout_s=timeout_s, every_s=0.02)

    async def states(self, job_id: str) -> list[str]:
        rows = await self.pool.fetch("SELECT state FROM lifecycle WHERE job_id = $1 ORDER BY event_no", job_id)
        return [row["state"] for row in rows]

    async def events(self, job_id: str) -> list[dict[str, Any]]:
        rows = await self.pool.fetch(
            "SELECT value FROM outbox WHERE topic = 'jobs.events' AND key = $1 ORDER BY id", job_id.encode()
        )
        return [msgspec.json.decode(row["value"]) for row in rows]

    async def count(self, table: str) -> int:
        return int(await self.pool.fetchval(f'SELECT count(*) FROM "{table}"'))


Scenario = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def play(database: Any) -> Callable[[Scenario], None]:
    """Runs an async scenario on a bench with a database of its own."""
    dsn = database("executor")

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            bench = Bench(dsn)
            await bench.open()
            try:
                await scenario(bench)
            finally:
                await bench.close()

        asyncio.run(whole())

    return run


@pytest.fixture
def flows(play: Callable[[Any], None]) -> Callable[[Callable[[Flows], Awaitable[None]]], None]:
    """Runs a scenario with a pump and a worker that echoes."""

    def run(scenario: Callable[[Flows], Awaitable[None]]) -> None:
        async def whole(bench: Any) -> None:
            found = await Flows(bench).open()
            await bench.work(ScriptedRunner(echo))
            try:
                await scenario(found)
            finally:
                await found.close()

        play(whole)

    return run
