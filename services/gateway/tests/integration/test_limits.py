"""Rate limits and admission at the door of whole gateways."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.http.problems import Problem
from jobyard_common.testing.eventually import eventually
from jobyard_gateway.domain.permissions import Principal, Role
from jobyard_gateway.domain.rate import rates_of
from jobyard_gateway.handlers.limit import Limiter
from jobyard_gateway.outbound.shelf import Shelf
from jobyard_gateway.outbound.slices import Slices
from msgspec import Raw

TOOL = ToolDefinition("echo", "1", "Echo", "", Raw(b"{}"), "default", Isolation.ASYNC, Level.L0, "h")


async def tool_known(http: httpx.AsyncClient) -> bool:
    return (await http.get("/v1/tools/echo")).status_code == 200


def test_too_many_requests_are_told_when_to_come_back(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running(rate_limits="submit=3/600,write=1/600") as running:
            http = running.http
            await eventually(lambda: tool_known(http), what="the tool")
            left = []
            for _ in range(3):
                answer = await http.post("/v1/jobs", json={"tool": "echo"})
                assert answer.status_code == 202
                assert answer.headers["RateLimit-Policy"] == '"submit";q=3;w=600'
                left.append(answer.headers["RateLimit"].partition(";t=")[0])
            assert left == ['"submit";r=2', '"submit";r=1', '"submit";r=0']
            refused = await http.post("/v1/jobs", content=b"this is never read as JSON")
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert refused.json()["retryable"] is True
            assert 200 <= int(refused.headers["Retry-After"]) <= 260
            assert (await http.post("/v1/job-batches", json={"items": [{"tool": "echo"}]})).status_code == 429
            assert (await http.get("/v1/tools")).status_code == 200, "another class"
            assert "RateLimit" not in (await http.get("/v1/tools")).headers
            bare = await http.post("/v1/jobs", json={"tool": "echo"}, headers={"Authorization": "Bearer jy_x"})
            assert bare.status_code == 401, "who is unknown spends nobody's quota"

    asyncio.run(story())


def test_a_batch_costs_its_items(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running(rate_limits="submit=10/600") as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            batch = {"items": [{"tool": "echo"}] * 7}
            first = await running.http.post("/v1/job-batches", json=batch)
            assert (first.status_code, first.json()["accepted"]) == (202, 7)
            assert first.headers["RateLimit"].startswith('"submit";r=3;')
            assert (await running.http.post("/v1/job-batches", json=batch)).status_code == 429

    asyncio.run(story())


def test_gateways_share_one_quota(yard: Any) -> None:
    principal = Principal("t", "key_1", Role.MEMBER, frozenset())

    async def story() -> None:
        shelves, limiters = [], []
        for name in ("one", "two"):
            shelf = Shelf(yard.valkey, prefix=f"{yard.prefix}gateway:", monotonic=time.monotonic, deadline_s=10.0)
            slices = Slices(shelf, instance=name)
            shelves.append(shelf)
            limiters.append(Limiter(rates_of("submit=100/60000"), {}, monotonic=time.monotonic, slices=slices))
        passed = 0
        for turn in range(240):
            try:
                await limiters[turn % 2].check(principal, "submit")
                passed += 1
            except Problem as problem:
                assert problem.code == "rate_limited"
        # What one gateway has leased and not spent, the other can't have: at most an eighth of the quota.
        assert 87 <= passed <= 100
        for shelf in shelves:
            await shelf.stop()

    asyncio.run(story())


def test_without_valkey_each_gateway_keeps_to_its_share(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running(
            rate_limits="submit=5/600", replicated=True, valkey_url="redis://127.0.0.1:1"
        ) as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            answers = [await running.http.post("/v1/jobs", json={"tool": "echo"}) for _ in range(7)]
            assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 2
            assert {answer.headers["X-Jobyard-Degraded"] for answer in answers} == {"limits"}

    asyncio.run(story())


def test_a_tenant_with_too_much_waiting_is_refused(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        yard.stand_in.waiting = {"count": 1, "waiting": 10, "queues": {}}
        async with yard.running(max_waiting_jobs=10) as running:
            http = running.http
            await eventually(lambda: tool_known(http), what="the tool")

            async def full() -> bool:
                answer = await http.post("/v1/jobs", json={"tool": "echo"})
                return answer.status_code == 429 and answer.json()["code"] == "queue_full"

            await eventually(full, what="the refusal")
            assert int((await http.post("/v1/jobs", json={"tool": "echo"})).headers["Retry-After"]) >= 1
            batch = await http.post("/v1/job-batches", json={"items": [{"tool": "echo"}] * 3})
            assert (batch.status_code, batch.json()["code"]) == (429, "queue_full")
            yard.stand_in.waiting = {"count": 2, "waiting": 8, "queues": {}}

            async def partly() -> bool:
                answer = await http.post("/v1/job-batches", json={"items": [{"tool": "echo"}] * 3})
                return answer.status_code == 202 and (answer.json()["accepted"], answer.json()["rejected"]) == (2, 1)

            await eventually(partly, what="room for two")

    asyncio.run(story())
