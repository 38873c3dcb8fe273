"""Runs of workflows on a bench: how tests start, follow and steer them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from jobyard_common.contracts import workflows as flow
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.telemetry.context import new_trace
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.handlers.advance_runs import advance_runs
from jobyard_executor.inbound.run_pump import RunPump
from jobyard_executor.testing.runner import ended

TENANT = "tnt_test"
ACTOR = Actor(ActorKind.KEY, "key_1")
KINDS = {flow.StartRun: flow.START_RUN, flow.CancelRun: flow.CANCEL_RUN, flow.RetryRun: flow.RETRY_RUN}
Play = Callable[[Callable[[Any], Awaitable[None]]], None]


def echo(assignment: Assignment) -> Outcome:
    """The value of every tool is its parameters; `fail` makes it fail."""
    parameters = json.loads(bytes(assignment.parameters))
    if parameters.get("fail"):
        return ended(assignment, Verdict.ERROR, failure=Failure("broken", "It broke.", retryable=False))
    return ended(assignment, value=bytes(assignment.parameters))


def step(name: str, *after: str | tuple[str, str], **more: Any) -> dict[str, Any]:
    edges = [{"step": a} if isinstance(a, str) else {"step": a[0], "policy": a[1]} for a in after]
    return {"name": name, "tool": "test.noop", "after": edges, **more}


async def define(bench: Any) -> None:
    """Store a definition of `test.noop` that tries once."""
    definition = ToolDefinition(
        "test.noop",
        "1",
        "",
        "",
        msgspec.Raw(b"{}"),
        "default",
        Isolation.ASYNC,
        Level.L0,
        "h",
        retry={"max_attempts": 1},
    )
    await bench.pool.execute(
        "UPDATE tool_version SET definition = $1 WHERE name = 'test.noop'", msgspec.json.encode(definition).decode()
    )


class Flows:
    """Runs on a bench."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        bench.engine.advance_runs = advance_runs

    async def open(self, *, pump: bool = True) -> Flows:
        await define(self.bench)
        if pump:
            self.pump = RunPump(self.bench.engine, self.bench.pool)
            self.bench.engine.wake_runs = self.pump.wake
            await self.pump.start()
        return self

    async def close(self) -> None:
        await self.pump.drain()

    async def apply(self, *commands: Any) -> list[Refused]:
        records = []
        for command in commands:
            envelope = new_envelope(
                KINDS[type(command)],
                source="test",
                subject=command.run_id,
                correlation_id="corr-1",
                traceparent=new_trace(sampled=False).format(),
            )
            value = msgspec.json.encode(command)
            records.append(Inbound("jobs.commands", 0, 0, 0, command.run_id.encode(), value, headers_of(envelope)))
        async with self.bench.pool.acquire() as connection, connection.transaction():
            refused = await self.bench.ingest.apply(connection, records)
        self.bench.ingest.after_commit()
        return list(refused)

    def command(self, steps: list[dict[str, Any]], given: Any = None, **more: Any) -> flow.StartRun:
        return flow.StartRun(
            new_id("cmd"),
            new_id("wfr"),
            TENANT,
            ACTOR,
            self.bench.clock.now(),
            graph=msgspec.Raw(json.dumps({"steps": steps}).encode()),
            input=msgspec.Raw(json.dumps(given or {}).encode()),
            **more,
        )

    async def start(self, steps: list[dict[str, Any]], given: Any = None) -> str:
        command = self.command(steps, given)
        assert await self.apply(command) == []
        return command.run_id

    async def run(self, run_id: str) -> Any:
        return await self.bench.pool.fetchrow("SELECT * FROM workflow_run WHERE run_id = $1", run_id)

    async def until_ended(self, run_id: str, *, timeout_s: float = 30.0) -> Any:
        async def probe() -> Any:
            row = await self.run(run_id)
            return row if row["finished_at"] is not None else None

        return await eventually(probe, what=f"{run_id} has ended", timeout_s=timeout_s, every_s=0.02)

    async def steps(self, run_id: str) -> dict[str, Any]:
        graph = json.loads((await self.run(run_id))["graph"])
        rows = await self.bench.pool.fetch("SELECT * FROM workflow_step WHERE run_id = $1 ORDER BY no", run_id)
        return {graph["steps"][row["no"]]["name"]: row for row in rows}

    async def states(self, run_id: str) -> dict[str, str]:
        return {name: row["state"] for name, row in (await self.steps(run_id)).items()}

    async def value(self, run_id: str, name: str) -> Any:
        job_id = (await self.steps(run_id))[name]["job_id"]
        return json.loads(await self.bench.pool.fetchval("SELECT value FROM result WHERE job_id = $1", job_id))


Scenario = Callable[[Callable[[Flows], Awaitable[None]]], None]
