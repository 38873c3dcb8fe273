"""Calls about bulk operations and dead letters, as the gateway makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from jobyard_common.runtime.health import Readiness
from jobyard_executor.handlers.run_bulk import step_bulk
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_bulk import BulkApi
from jobyard_executor.inbound.http_dead_letters import DeadLetterApi
from jobyard_executor.inbound.http_shapes import filters_of_pairs

Play = Callable[[Any], None]
TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}
BULK, LETTERS = "/internal/v1/bulk-operations", "/internal/v1/dead-letters"
LATER = "2099-01-01T00:00:00Z"


def client(bench: Any, **headers: str) -> httpx.AsyncClient:
    barrier = Barrier(bench.pool, None, topic="jobs.commands")
    parts = [BulkApi(bench.engine, bench.pool, barrier), DeadLetterApi(bench.engine, bench.pool, barrier)]
    app = make_app(
        ReadApi(bench.pool, barrier), readiness=Readiness(), tracer=bench.engine.tracer, token=TOKEN, parts=parts
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://executor", headers=AUTH | headers)


async def steps(bench: Any, *, most: int = 1000) -> int:
    taken = 0
    while taken < most and await step_bulk(bench.engine, bench.pool, filters_of_pairs):
        taken += 1
    return taken


async def jobs(bench: Any, count: int, **spec: Any) -> list[str]:
    submits = [bench.submit(**spec) for _ in range(count)]
    await bench.apply(*submits)
    return [submit.job_id for submit in submits]


async def states(bench: Any) -> dict[str, int]:
    return dict(await bench.pool.fetch("SELECT state, count(*)::int FROM job GROUP BY 1"))


async def begin(bench: Any, **members: Any) -> dict[str, Any]:
    async with client(bench) as http:
        answer = await http.post(BULK, json=members)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def look(bench: Any, bulk_id: str) -> dict[str, Any]:
    async with client(bench) as http:
        found: dict[str, Any] = (await http.get(f"{BULK}/{bulk_id}")).json()
        return found
