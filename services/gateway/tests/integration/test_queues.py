"""Routes of tools and queues that drain, at the door; changes of queues and limits that are refused there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.testing.eventually import eventually

TOOL = ToolDefinition("echo", "1", "Echo", "", msgspec.Raw(b"{}"), "default", Isolation.ASYNC, Level.L0, "h")
HOSTILE: list[tuple[str, str, bytes]] = [
    (method, path, body)
    for method, path in (
        ("PATCH", "/v1/queues/default"),
        ("PUT", "/v1/limits/queue:default"),
        ("PUT", "/v1/limits/key:mine"),
        ("PUT", "/v1/routes/echo"),
    )
    for body in (
        b"", b"[]", b"null", b"{", b"\xff", b'{"a":1,"a":2}', b'{"weight":NaN}', b'{"weight":1e999}', b'{"x":1}',
        b'{"concurrency":-1,"limits":{"concurrency":-1},"queue":3}', b'{"queue":"\\u0000","weight":"\\u0000"}',
        b'{"rate":{"count":0},"limits":{"rate":{"count":0}},"queue":"A B"}', b"[" * 5000,
        b'{"weight":' + b"9" * 500 + b"}",
    )
]  # fmt: skip


async def tool_known(http: httpx.AsyncClient) -> bool:
    return (await http.get("/v1/tools/echo")).status_code == 200


def test_routes_place_jobs_and_draining_queues_refuse_them(yard: Any) -> None:
    yard.stand_in.routes["echo"] = "slow"

    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running() as running:
            http = running.http
            await eventually(lambda: tool_known(http), what="the tool")

            async def routed() -> bool:
                return (await http.post("/v1/jobs", json={"tool": "echo"})).json()["queue"] == "slow"

            await eventually(routed, what="the route")
            named = await http.post("/v1/jobs", json={"tool": "echo", "queue": "default"})
            assert named.json()["queue"] == "default"
            repeated = {"Idempotency-Key": "k"}
            first = await http.post("/v1/jobs", json={"tool": "echo"}, headers=repeated)
            yard.stand_in.queues["slow"] = {"draining": True}

            async def draining() -> bool:
                return (await http.post("/v1/jobs", json={"tool": "echo"})).status_code == 409

            await eventually(draining, what="the drain")
            refused = (await http.post("/v1/jobs", json={"tool": "echo"})).json()
            assert (refused["code"], refused["retryable"]) == ("queue_draining", True)
            again = await http.post("/v1/jobs", json={"tool": "echo"}, headers=repeated)
            assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
            batch = await http.post(
                "/v1/job-batches", json={"items": [{"tool": "echo"}, {"tool": "echo", "queue": "default"}]}
            )
            assert (batch.json()["accepted"], batch.json()["rejected"]) == (1, 1)
            before = await yard.records("jobs.commands", count=3)
            assert {msgspec.json.decode(one.value, type=SubmitJob).spec.queue for one in before} <= {"slow", "default"}

    asyncio.run(story())


def test_hostile_changes_are_refused_at_the_door(yard: Any) -> None:
    async def story() -> None:
        async with yard.running() as running:
            for method, path, body in HOSTILE:
                headers = {"Content-Type": "application/json"}
                answer = await running.http.request(method, path, content=body, headers=headers)
                assert answer.status_code in (400, 422), (method, path, body[:80], answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
            for key in ("nothing", "user:a", "key:", "key:" + "x" * 300, "queue:%00", "tool:..%2F..%2Fx"):
                answer = await running.http.put(f"/v1/limits/{key}", json={"concurrency": 1})
                assert answer.status_code in (404, 422), (key, answer.text)

    asyncio.run(story())


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_only_operators_limit_what_holds_for_everybody(yard: Any, method: str) -> None:
    async def story() -> None:
        async with yard.running() as running:
            made = await running.http.post("/v1/api-keys", json={"name": "member", "role": "member"})
            headers = {"Authorization": f"Bearer {made.json()['key']}"}
            for key in ("queue:default", "tool:echo", "tenant:tnt_default"):
                body = {"json": {"concurrency": 1}} if method == "PUT" else {}
                answer = await running.http.request(method, f"/v1/limits/{key}", headers=headers, **body)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    asyncio.run(story())
