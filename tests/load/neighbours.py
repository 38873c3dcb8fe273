"""How long a second tenant waits behind the flood of a first one."""

from __future__ import annotations

import asyncio
import json
import statistics
from typing import NamedTuple

from tests.load.client import Connection
from tests.load.rates import Rates, fresh_tag, submit


class Waits(NamedTuple):
    """Median `wait_ms` of the second tenant's jobs: alone, and behind the flood; how many still waited at its end."""

    idle_ms: float
    behind_ms: float
    backlog: int


async def second_tenant(rates: Rates, *, flood: int, probes: int = 40) -> Waits:
    """`flood` jobs of the first tenant, each of 10 ms, are waiting while the second one submits one after another."""
    async with rates.connection() as first:
        tenant = await _post(first, "/v1/tenants", {"name": "neighbour"})
        key = (await _post(first, "/v1/api-keys", {"tenant_id": tenant["id"], "name": "neighbour"}))["key"]
        async with rates.connection(key) as second:
            idle = await _waits(second, probes)
            item = {"tool": "test.sleep", "parameters": {"seconds": 0.01}, "tags": [fresh_tag("flood")]}
            await rates.queue("pause")
            for _ in range(0, flood, 1000):
                await _post(first, "/v1/job-batches", {"items": [item] * 1000})
            await rates.waiting(flood)
            await rates.queue("resume")
            behind = await _waits(second, probes)
            backlog = (await first.get("/v1/queues/default"))["depth"]["queued"]
    await rates.drained()
    return Waits(statistics.median(idle), statistics.median(behind), backlog)


async def _waits(connection: Connection, probes: int) -> list[float]:
    body = json.dumps(submit(fresh_tag("probe"))).encode()
    found = []
    for _ in range(probes):
        status, answer = await connection.call("POST", "/v1/jobs", body, headers=b"Prefer: wait=60\r\n")
        assert status == 200, answer[:200]
        found.append(float(json.loads(answer)["wait_ms"]))
        await asyncio.sleep(0.02)
    return found


async def _post(connection: Connection, path: str, body: object) -> dict[str, object]:
    status, answer = await connection.call("POST", path, json.dumps(body).encode())
    assert status in (201, 202), answer[:300]
    return dict(json.loads(answer))
