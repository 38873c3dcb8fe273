"""What a kill -9 of the executor costs while jobs are in flight."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import NamedTuple

from tests.load.client import spread
from tests.load.rates import Rates, fresh_tag


class Recovery(NamedTuple):
    """`lost` did not succeed; `seconds` from the kill until the last job had ended."""

    lost: int
    seconds: float


async def kill_executor(rates: Rates, *, jobs: int = 300, job_s: float = 0.5) -> Recovery:
    """Kill the executor while `jobs` are waiting or running; the launcher starts it again."""
    tag = fresh_tag("kill")
    item = {"tool": "test.sleep", "parameters": {"seconds": job_s}, "tags": [tag]}

    async def send(connection: object, body: bytes) -> None:
        status, answer = await connection.call("POST", "/v1/job-batches", body)  # type: ignore[attr-defined]
        assert status == 202, answer[:200]

    await spread(rates.connection, 1, [json.dumps({"items": [item] * jobs}).encode()], send)
    async with rates.connection() as connection:
        while True:
            if (await connection.get(f"/v1/jobs?tag={tag}&state=running&count=exact&limit=1"))["count"] >= jobs // 10:
                break
            await asyncio.sleep(0.02)
        os.kill(rates.stack.pids()["executor"], signal.SIGKILL)
        began = time.perf_counter()
        while time.perf_counter() - began < 120:
            # Reads fail while nobody answers them; that is a part of what is measured.
            status, body = await connection.call("GET", f"/v1/jobs/counts?tag={tag}")
            counts = json.loads(body).get("counts", {}) if status == 200 else {}
            ended = sum(counts.get(state, 0) for state in ("succeeded", "failed", "cancelled", "expired"))
            if ended >= jobs:
                break
            await asyncio.sleep(0.1)
        seconds = time.perf_counter() - began
        done = (await connection.get(f"/v1/jobs?tag={tag}&state=succeeded&count=exact&limit=1"))["count"]
    rates.stack.reload()
    return Recovery(jobs - done, seconds)
