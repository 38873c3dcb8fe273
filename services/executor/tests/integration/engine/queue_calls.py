"""Calls to the routes of queues, limits and workers, with nothing else of an executor behind them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import msgspec
from jobyard_common.runtime.health import Readiness
from jobyard_executor.handlers.count_waiting import WaitingCounts
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_limits import LimitApi
from jobyard_executor.inbound.http_queues import QueueApi
from jobyard_executor.inbound.http_workers import WorkerApi
from jobyard_executor.store import sessions

TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}
V1 = "/internal/v1"


def client(bench: Any, *, tenant: str = "tnt_test") -> httpx.AsyncClient:
    counts = WaitingCounts(bench.pool, least_s=0.0)
    engine, pool = bench.engine, bench.pool
    app = make_app(
        ReadApi(pool, Barrier(pool, None, topic="jobs.commands")),
        readiness=Readiness(),
        tracer=engine.tracer,
        token=TOKEN,
        parts=[QueueApi(engine, pool, counts), LimitApi(engine, pool), WorkerApi(engine, pool)],
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    headers = AUTH | {"X-Jobyard-Tenant": tenant}
    return httpx.AsyncClient(transport=transport, base_url=f"http://executor{V1}", headers=headers)


async def session_of(bench: Any, name: str = "ses_1", *, instance: str = "worker-1", offer: Any = None) -> str:
    """A session of a worker that knows the benches' tool."""
    await sessions.open_session(
        bench.pool,
        name,
        sessions.Identity(instance, "elsewhere", "boot", 1, 1),
        ttl=timedelta(seconds=60),
        tools=["test.noop@1"],
        levels=["L0", "L1"],
        slots='{"async":10}',
        offer=offer or sessions.Offer(),
    )
    return name


async def started(bench: Any, session: str, *, slots: int = 10, claimer: Any = None) -> list[str]:
    """Ids of the jobs that one claim starts."""
    found = await (claimer or bench.claimer()).claim(session, free={"async": slots})
    assert found is not None
    return [held.job.job_id for held in found]


async def audited(bench: Any) -> list[str]:
    rows = await bench.pool.fetch("SELECT value FROM outbox WHERE topic = 'audit' ORDER BY id")
    return [msgspec.json.decode(row["value"])["action"] for row in rows]
