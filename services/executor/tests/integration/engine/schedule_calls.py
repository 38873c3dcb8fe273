"""Calls about schedules, as the gateway makes them, and the passing of time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import msgspec
from jobyard_common.contracts.jobs import JobSpec
from jobyard_common.runtime.health import Readiness
from jobyard_executor.handlers.fire_schedules import fire_schedules, start_waiting
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_schedules import ScheduleApi

Play = Callable[[Any], None]
TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}
V1 = "/internal/v1/schedules"


def client(bench: Any, **headers: str) -> httpx.AsyncClient:
    barrier = Barrier(bench.pool, None, topic="jobs.commands")
    parts = [ScheduleApi(bench.engine, bench.pool)]
    app = make_app(
        ReadApi(bench.pool, barrier), readiness=Readiness(), tracer=bench.engine.tracer, token=TOKEN, parts=parts
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://executor", headers=AUTH | headers)


def body(**members: Any) -> dict[str, Any]:
    spec = JobSpec(members.pop("tool", "test.noop"), "1", "async", "L0", 60.0)
    return {
        "name": "nightly",
        "template": {"tool": spec.tool},
        "spec": msgspec.to_builtins(spec, enc_hook=lambda raw: msgspec.json.decode(raw)),
    } | members


async def make(bench: Any, **members: Any) -> dict[str, Any]:
    async with client(bench) as http:
        answer = await http.post(V1, json=body(**members))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def tick(bench: Any, **ahead: float) -> None:
    """Time passes, and the timers of one replica look."""
    bench.clock.ahead += timedelta(**ahead)
    while await fire_schedules(bench.engine, bench.pool) or await start_waiting(bench.engine, bench.pool):
        continue


async def fires(bench: Any, schedule_id: str) -> list[dict[str, Any]]:
    """Oldest first."""
    async with client(bench) as http:
        rows: list[dict[str, Any]] = (await http.get(f"{V1}/{schedule_id}/fires", params={"limit": 200})).json()["data"]
        return rows[::-1]


async def outcomes(bench: Any, schedule_id: str) -> list[str]:
    return [row["outcome"] for row in await fires(bench, schedule_id)]
