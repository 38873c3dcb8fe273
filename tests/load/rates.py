"""The measurements. Each returns figures; none of them judges."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from jobyard_common.testing.eventually import eventually

from tests.load.client import Connection, spread
from tests.support.processes import cpu_s
from tests.support.stack import OwnStack


@dataclass
class Rate:
    """Jobs a second, and the CPU of each process in microseconds a job."""

    jobs: int
    seconds: float
    cpu_us: dict[str, float] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        return self.jobs / self.seconds

    @property
    def total_us(self) -> float:
        return sum(self.cpu_us.values())


def noop(tag: str, **options: Any) -> bytes:
    return json.dumps({"tool": "test.noop", "tags": [tag], **options}).encode()


def batch(tag: str, count: int) -> bytes:
    return json.dumps({"items": [{"tool": "test.noop", "tags": [tag]}] * count}).encode()


class Measure:
    def __init__(self, stack: OwnStack) -> None:
        self.stack = stack

    def connection(self) -> Connection:
        return Connection(self.stack.url, self.stack.key)

    async def submit_rate(self, *, connections: int, jobs: int) -> Rate:
        """Single submits that will not run (a day's delay), so that the answer is what is measured."""
        tag = f"rate-{time.time_ns():x}"
        work: Iterator[bytes] = iter([noop(tag, delay_s=86_400)] * jobs)

        async def do(connection: Connection, body: bytes) -> None:
            status, answer = await connection.call("POST", "/v1/jobs", body)
            assert status == 202, answer[:200]

        began = time.perf_counter()
        await spread(self.connection, connections, work, do)
        rate = Rate(jobs, time.perf_counter() - began)
        await self.settled()
        return rate

    async def bulk_submit_rate(self, *, jobs: int) -> Rate:
        """Batches of 1,000 on two connections, until the last is accepted; they are left to run."""
        return await self._run(jobs, bulk=True, until_done=False)

    async def end_to_end(self, *, jobs: int, bulk: bool, connections: int = 32) -> Rate:
        """From the first submit until every result is readable and every event published."""
        return await self._run(jobs, bulk=bulk, until_done=True, connections=connections)

    async def _run(self, jobs: int, *, bulk: bool, until_done: bool, connections: int = 2) -> Rate:
        tag = f"run-{time.time_ns():x}"
        before, began = cpu_s(self.stack.pids()), time.perf_counter()
        if bulk:
            size = min(1000, jobs)

            async def send(connection: Connection, body: bytes) -> None:
                status, answer = await connection.call("POST", "/v1/job-batches", body)
                assert status == 202 and json.loads(answer)["rejected"] == 0, answer[:300]

            await spread(self.connection, 2, [batch(tag, size)] * (jobs // size), send)
        else:

            async def one(connection: Connection, body: bytes) -> None:
                status, answer = await connection.call("POST", "/v1/jobs", body)
                assert status == 202, answer[:200]

            await spread(self.connection, connections, [noop(tag)] * jobs, one)
        accepted = time.perf_counter() - began
        await self.finished(jobs, tag)
        done = time.perf_counter() - began
        after = cpu_s(self.stack.pids())
        cpu = {name: (after[name] - before[name]) / jobs * 1e6 for name in before}
        return Rate(jobs, done if until_done else accepted, cpu)

    async def finished(self, jobs: int, tag: str) -> None:
        """Every job of the tag has succeeded, and the outbox is empty."""
        async with self.connection() as connection:
            async with asyncio.timeout(300):
                while True:
                    page = await connection.get(f"/v1/jobs?tag={tag}&state=succeeded&count=exact&limit=1")
                    if page["count"] >= jobs:
                        break
                    await asyncio.sleep(0.05)
        await self.settled()

    async def settled(self) -> None:
        database = await asyncpg.connect(self.stack.facts["postgres"]["dsn"])
        try:
            await eventually(
                lambda: database.fetchval("SELECT NOT EXISTS (SELECT FROM executor.outbox)"),
                what="an empty outbox",
                timeout_s=120,
            )
        finally:
            await database.close()

    async def latency(self, *, per_s: float, seconds: float) -> dict[str, list[float]]:
        """Milliseconds from the submit to the 202, the start and the readable result (polled every 2 ms)."""
        found: dict[str, list[float]] = {"accepted": [], "started": [], "visible": []}
        tag = f"latency-{time.time_ns():x}"

        async def one() -> None:
            async with self.connection() as connection:
                began_at, began = time.time(), time.perf_counter()
                job = await connection.submit(noop(tag))
                found["accepted"].append((time.perf_counter() - began) * 1000)
                while True:
                    status, _ = await connection.call("GET", f"/v1/jobs/{job['id']}/result")
                    if status == 200:
                        break
                    await asyncio.sleep(0.002)
                found["visible"].append((time.perf_counter() - began) * 1000)
                shown = await connection.get(f"/v1/jobs/{job['id']}")
                started = asyncpg_time(shown["started_at"])
                found["started"].append(max(0.0, (started - began_at) * 1000))

        async with asyncio.TaskGroup() as group:
            for _ in range(int(per_s * seconds)):
                group.create_task(one())
                await asyncio.sleep(1 / per_s)
        return found


def asyncpg_time(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def percentiles(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    return tuple(ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95, 0.99))  # type: ignore[return-value]
