"""How many jobs a second, and what each costs. Figures are returned; nothing here judges."""

from __future__ import annotations

import asyncio
import json
import time
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


def submit(tag: str, **options: Any) -> dict[str, Any]:
    return {"tool": "test.noop", "tags": [tag], **options}


def fresh_tag(what: str) -> str:
    return f"{what}-{time.time_ns():x}"


class Rates:
    def __init__(self, stack: OwnStack) -> None:
        self.stack = stack

    def connection(self, key: str | None = None) -> Connection:
        return Connection(self.stack.url, key or self.stack.key)

    async def submit_rate(self, *, connections: int, jobs: int) -> Rate:
        """Single submits while nothing is claimed, so that the answer is what is measured; CPU until all are published.

        The jobs run afterwards.
        """
        body = json.dumps(submit(fresh_tag("rate"))).encode()
        await self.queue("pause")
        before, began = cpu_s(self.stack.pids()), time.perf_counter()
        await spread(self.connection, connections, [body] * jobs, _one)
        seconds = time.perf_counter() - began
        await self.waiting(jobs)
        await self.settled()
        found = Rate(jobs, seconds, self._cpu(before, jobs))
        await self.queue("resume")
        await self.drained()
        return found

    async def waiting(self, jobs: int) -> None:
        """So many jobs are ingested and wait."""
        await self._until(f"SELECT count(*) >= {jobs} FROM executor.ready", what=f"{jobs} waiting jobs")

    async def queue(self, verb: str) -> None:
        """Pause or resume the default queue."""
        async with self.connection() as connection:
            status, answer = await connection.call("POST", f"/v1/queues/default/{verb}")
            assert status == 200, answer[:300]

    async def bulk_submit_rate(self, *, jobs: int) -> Rate:
        """Batches of 1,000 on two connections, until the last is accepted; they are left to run."""
        return await self.end_to_end(jobs=jobs, until_done=False)

    async def end_to_end(
        self, *, jobs: int, connections: int | None = None, until_done: bool = True, **options: Any
    ) -> Rate:
        """From the first submit until every result is readable and every event published.

        By batches of 1,000, or by single submits over `connections`. `options` are members of each submit; a callable
        is asked for the value of each job by its number.
        """
        tag = fresh_tag("run")
        items = [submit(tag, **{k: v(n) if callable(v) else v for k, v in options.items()}) for n in range(jobs)]
        if connections is None:
            size = min(1000, jobs)
            work = [json.dumps({"items": items[at : at + size]}).encode() for at in range(0, jobs, size)]
        else:
            work = [json.dumps(item).encode() for item in items]
        before, began = cpu_s(self.stack.pids()), time.perf_counter()
        await spread(self.connection, connections or 2, work, _one if connections else _batch)
        accepted = time.perf_counter() - began
        await self.finished(jobs, tag)
        done = time.perf_counter() - began
        return Rate(jobs, done if until_done else accepted, self._cpu(before, jobs))

    def _cpu(self, before: dict[str, float], jobs: int) -> dict[str, float]:
        after = cpu_s(self.stack.pids())
        return {name: (after[name] - before[name]) / jobs * 1e6 for name in before}

    async def finished(self, jobs: int, tag: str, *, key: str | None = None, timeout_s: float = 300) -> None:
        """Every job of the tag has succeeded, and the outbox is empty.

        The API is asked only once nothing waits or runs, because a count looks every job of the tag up.
        """
        async with self.connection(key) as connection, asyncio.timeout(timeout_s):
            while True:
                await self._idle()
                page = await connection.get(f"/v1/jobs?tag={tag}&state=succeeded&count=exact&limit=1")
                if page["count"] >= jobs:
                    break
                await asyncio.sleep(0.1)
        await self.settled()

    async def _idle(self) -> None:
        quiet = "SELECT NOT EXISTS (SELECT FROM executor.ready) AND NOT EXISTS (SELECT FROM executor.lease)"
        await self._until(quiet, what="an empty queue")

    async def drained(self) -> None:
        """Nothing waits, nothing runs, every event is published."""
        await self._idle()
        await self.settled()

    async def settled(self) -> None:
        """Every event is published."""
        await self._until("SELECT NOT EXISTS (SELECT FROM executor.outbox)", what="an empty outbox")

    async def _until(self, question: str, *, what: str) -> None:
        database = await asyncpg.connect(self.stack.facts["postgres"]["dsn"])
        try:
            await eventually(lambda: database.fetchval(question), what=what, timeout_s=300)
        finally:
            await database.close()


async def _one(connection: Connection, body: bytes) -> None:
    status, answer = await connection.call("POST", "/v1/jobs", body)
    assert status == 202, answer[:200]


async def _batch(connection: Connection, body: bytes) -> None:
    status, answer = await connection.call("POST", "/v1/job-batches", body)
    assert status == 202, answer[:300]
    assert json.loads(answer)["rejected"] == 0, answer[:300]
