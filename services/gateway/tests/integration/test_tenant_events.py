"""`GET /v1/events` on the real topic: live, resumed on another gateway, paged, filtered, apart by tenant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from jobyard_common.contracts.ids import new_id

PATH = "/v1/events"


def event(job_id: str, number: int, *, state: str = "queued", tenant: str = "tnt_default") -> tuple[bytes, bytes]:
    job = {"id": job_id, "tool": "echo", "state": state, "queue": "default", "tags": [], "metadata": {}}
    job |= {"correlation_id": "c", "created_at": "2026-01-01T00:00:00.000Z", "parent_id": None}
    body = {"job": job, "tenant": tenant, "incarnation": 5, "event_no": number, "output_seq": 0}
    return job_id.encode(), json.dumps(body | {"actor": {"kind": "system", "id": "x"}}).encode()


async def stream(running: Any, *, last: str | None = None, query: str = "") -> AsyncIterator[tuple[str, str, Any]]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    async with running.http.stream("GET", PATH + query, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        parts: dict[str, str] = {}
        async for text in answer.aiter_lines():
            name, _, value = text.partition(": ")
            if text:
                parts[name] = value
            elif "event" in parts:
                yield parts["event"], parts["id"], json.loads(parts["data"])
                parts = {}


async def gather(source: AsyncIterator[tuple[str, str, Any]], count: int) -> list[tuple[str, str, Any]]:
    found = []
    async with asyncio.timeout(20):
        async for one in source:
            found.append(one)
            if len(found) == count:
                break
    return found


def known(found: list[tuple[str, str, Any]]) -> set[tuple[str, int]]:
    return {(data["job"]["id"], data["event_no"]) for _, _, data in found}


def test_live_resumed_elsewhere_and_filtered(yard: Any) -> None:
    jobs = [new_id("job") for _ in range(6)]

    async def story() -> None:
        async with yard.running(instance_id="one") as one, yard.running(instance_id="two") as two:
            await yard.produce("jobs.events", [event(jobs[0], 1)])
            live = asyncio.create_task(gather(stream(one), 3))
            failures = asyncio.create_task(gather(stream(one, query="?state=failed"), 1))
            await asyncio.sleep(1.5)
            others = [event(new_id("job"), 1, tenant="tnt_other")]
            rubbish: list[tuple[bytes | None, bytes | None]] = [(b"x", b"{"), (b"y", None)]
            await yard.produce("jobs.events", [*others, *rubbish, event(jobs[1], 1), event(jobs[2], 1)])
            await yard.produce("jobs.events", [event(jobs[3], 4, state="failed")])
            seen = await live
            assert {name for name, _, _ in seen} == {"job.state"}
            assert known(seen) == {(jobs[1], 1), (jobs[2], 1), (jobs[3], 4)}, "from now on, and of this tenant only"
            assert seen[0][2]["job"]["links"]["self"].startswith("/v1/jobs/job_")
            assert known(await failures) == {(jobs[3], 4)}
            await yard.produce("jobs.events", [event(jobs[4], 1), event(jobs[4], 2), event(jobs[5], 1)])
            for cut in range(3):
                rest = {(data["job"]["id"], data["event_no"]) for _, _, data in seen[cut + 1 :]}
                missed = await gather(stream(two, last=seen[cut][1]), len(rest) + 2)
                # Of what it missed, it gets the last word on each job once.
                assert known(missed) == rest | {(jobs[4], 2), (jobs[5], 1)}

    asyncio.run(story())


def test_a_stream_goes_on_live_after_what_was_missed(yard: Any) -> None:
    jobs = [new_id("job") for _ in range(40)]

    async def story() -> None:
        async with yard.running() as running:
            await yard.produce("jobs.events", [event(job, 1) for job in jobs[:20]])
            following = asyncio.create_task(gather(stream(running, last="0-0"), 40))
            for job in jobs[20:]:
                await yard.produce("jobs.events", [event(job, 1)])
            seen = await following
            assert known(seen) == {(job, 1) for job in jobs}
            assert len({place for _, place, _ in seen}) == 40

    asyncio.run(story())


def test_pages_and_hostile_parameters(yard: Any) -> None:
    jobs = [new_id("job") for _ in range(30)]

    async def story() -> None:
        async with yard.running() as running:
            http = running.http
            first = (await http.get(PATH)).json()
            assert (first["data"], first["has_more"]) == ([], False)
            await yard.produce("jobs.events", [event(job, 1) for job in jobs])
            await yard.produce("jobs.events", [event(jobs[0], 2, state="failed")])
            cursor, seen = first["next_cursor"], []
            while True:
                page = (await http.get(PATH, params={"cursor": cursor, "limit": "7"})).json()
                assert len(page["data"]) <= 7
                seen += page["data"]
                cursor = page["next_cursor"]
                if not page["has_more"]:
                    break
            numbers = {row["job"]["id"]: row["event_no"] for row in seen}
            assert numbers == {job: 1 for job in jobs} | {jobs[0]: 2}
            assert (await http.get(PATH, params={"cursor": cursor})).json()["data"] == []
            assert len((await http.get(PATH)).json()["data"]) == 30, "without a cursor the newest"
            one = (await http.get(PATH, params={"state": "failed"})).json()["data"]
            assert [row["job"]["id"] for row in one] == [jobs[0]]
            for query in (
                "cursor=x!",
                "cursor=1",
                "cursor=",
                "limit=0",
                "limit=201",
                "bogus=1",
                "state=odd",
                "count=exact",
            ):
                refused = await http.get(f"{PATH}?{query}")
                assert refused.status_code == 422, query
                assert refused.json()["errors"][0]["pointer"] == query.partition("=")[0]
            assert (await http.get(PATH, headers={"Authorization": "Bearer no"})).status_code == 401

    asyncio.run(story())


def test_without_kafka_it_says_so(yard: Any) -> None:
    async def story() -> None:
        async with yard.running(kafka_bootstrap="127.0.0.1:1") as running:
            assert (await running.http.get(PATH)).status_code == 503

    asyncio.run(story())
