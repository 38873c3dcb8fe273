"""How long a submit takes to be answered, to start, and to have a readable result."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import datetime

from tests.load.client import Connection
from tests.load.rates import Rates, fresh_tag, submit


async def latency(rates: Rates, *, per_s: float, seconds: float) -> dict[str, list[float]]:
    """Milliseconds from the submit to the 202, the start and the readable result (polled every 2 ms)."""
    found: dict[str, list[float]] = {"accepted": [], "started": [], "visible": []}
    body = json.dumps(submit(fresh_tag("latency"))).encode()

    async def one() -> None:
        async with rates.connection() as connection:
            began_at, began = time.time(), time.perf_counter()
            job = await connection.submit(body)
            found["accepted"].append((time.perf_counter() - began) * 1000)
            while True:
                if (await connection.call("GET", f"/v1/jobs/{job['id']}/result"))[0] == 200:
                    break
                await asyncio.sleep(0.002)
            found["visible"].append((time.perf_counter() - began) * 1000)
            started = (await connection.get(f"/v1/jobs/{job['id']}"))["started_at"]
            found["started"].append(max(0.0, (datetime.fromisoformat(started).timestamp() - began_at) * 1000))

    async with asyncio.TaskGroup() as group:
        for _ in range(int(per_s * seconds)):
            group.create_task(one())
            await asyncio.sleep(1 / per_s)
    return found


async def waited(rates: Rates, *, per_s: float, seconds: float, connections: int = 100) -> list[float]:
    """Milliseconds until a submit that waits for its job is answered, with that many submits a second.

    Asking again and again costs more than the jobs do at such a rate. A submit that finds no free connection opens one
    more; connections are reused.
    """
    found: list[float] = []
    body = json.dumps(submit(fresh_tag("waited"))).encode()
    free: list[Connection] = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(connections):
            free.append(await stack.enter_async_context(rates.connection()))

        async def one() -> None:
            connection = free.pop() if free else await stack.enter_async_context(rates.connection())
            began = time.perf_counter()
            status, answer = await connection.call("POST", "/v1/jobs", body, headers=b"Prefer: wait=60\r\n")
            found.append((time.perf_counter() - began) * 1000)
            assert status == 200, answer[:300]
            free.append(connection)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_s * seconds)):
                if (early := began + number / per_s - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                group.create_task(one())
    return found


def percentiles(values: list[float]) -> tuple[float, float, float]:
    """The 50th, 95th and 99th."""
    ordered = sorted(values)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95, 0.99))
    return p50, p95, p99
