"""404 is said only when it is certain: behind the spool and the end of the id's partition of `jobs.commands`."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.messaging.kafka import partition_of
from jobyard_common.testing.eventually import eventually
from msgspec import Raw

PARTITIONS = 2  # of every topic in tests
TOOL = ToolDefinition("echo", "1", "Echo", "", Raw(b"{}"), "default", Isolation.ASYNC, Level.L0, "h")


async def tool_known(http: httpx.AsyncClient) -> bool:
    return (await http.get("/v1/tools/echo")).status_code == 200


def test_a_restarted_gateway_asks_behind_the_end_of_the_partition(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running(valkey_url=None) as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            made = [(await running.http.post("/v1/jobs", json={"tool": "echo"})).json()["id"] for _ in range(5)]
        records = {record.key.decode(): record for record in await yard.records("jobs.commands", count=5)}
        ends: dict[int, int] = {}
        for record in records.values():
            assert record.partition == partition_of(record.key, PARTITIONS)
            ends[record.partition] = max(ends.get(record.partition, 0), record.offset)
        async with yard.running(valkey_url=None) as fresh:
            yard.stand_in.ingested = {}
            for job_id in made:
                answer = await fresh.http.get(f"/v1/jobs/{job_id}")
                assert answer.status_code == 503, "ingest is behind: nobody can know"
                assert answer.json()["code"] == "unavailable" and answer.json()["retryable"] is True
                asked = yard.stand_in.asked[-1][2]["x-jobyard-after"]
                partition = records[job_id].partition
                assert asked == f"{partition}:{ends[partition]}"
                assert (await fresh.http.get(f"/v1/jobs/{job_id}/result")).status_code == 503
                assert (await fresh.http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 503
            parents = await fresh.http.post("/v1/jobs", json={"tool": "echo", "depends_on": made[:2]})
            assert parents.status_code == 503, parents.text
            yard.stand_in.ingested = {number: 10**6 for number in range(PARTITIONS)}
            unknown = [new_id("job") for _ in range(20)]

            async def certain(job_id: str) -> int | None:
                """A broker that did not answer in time is an honest 503, and the next question may be luckier."""
                status = (await fresh.http.get(f"/v1/jobs/{job_id}")).status_code
                return None if status == 503 else status

            asked = [eventually(lambda one=one: certain(one), what=f"an answer about {one}") for one in unknown]
            assert set(await asyncio.gather(*asked)) == {404}
            child = await fresh.http.post("/v1/jobs", json={"tool": "echo", "depends_on": unknown[:1]})
            assert [row["pointer"] for row in child.json()["errors"]] == ["/depends_on/0"]

    asyncio.run(story())


def test_nobody_says_404_while_kafka_can_not_be_asked(yard: Any) -> None:
    async def story() -> None:
        async with yard.running(kafka_bootstrap="127.0.0.1:1") as running:
            answer = await running.http.get(f"/v1/jobs/{new_id('job')}")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            assert (await running.http.get("/v1/jobs/job_1")).status_code == 404, "no id of ours"

    asyncio.run(story())


def test_what_waits_in_the_spool_is_shown_by_every_gateway(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running(instance_id="one") as one:
            await eventually(lambda: tool_known(one.http), what="the tool")
        async with yard.running(kafka_bootstrap="127.0.0.1:1", valkey_url=None) as cut_off:
            await eventually(lambda: tool_known(cut_off.http), what="the tool, from PostgreSQL")
            made = (await cut_off.http.post("/v1/jobs", json={"tool": "echo"})).json()
            assert made["state"] == "accepted"
            async with yard.running(instance_id="b", kafka_bootstrap="127.0.0.1:1", valkey_url=None) as other:
                seen = await other.http.get(f"/v1/jobs/{made['id']}")
                assert (seen.status_code, seen.json()) == (200, made)
                parent = {"tool": "echo", "depends_on": [made["id"]]}
                assert (await cut_off.http.post("/v1/jobs", json=parent)).status_code == 202

    asyncio.run(story())


def test_why_a_job_waits_that_nobody_has_read(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running() as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            made = (await running.http.post("/v1/jobs", json={"tool": "echo"})).json()
            told = await running.http.get(f"/v1/jobs/{made['id']}/explain")
            assert told.status_code == 200
            assert (told.json()["state"], told.json()["since"]) == ("accepted", made["created_at"])
            assert [row["kind"] for row in told.json()["waiting_for"]] == ["ingest"]

    asyncio.run(story())


def test_a_job_is_moved_to_a_time_or_by_a_delay_and_only_while_it_waits_for_one(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running() as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            made = (await running.http.post("/v1/jobs", json={"tool": "echo", "delay_s": 600})).json()["id"]
            path = f"/v1/jobs/{made}/reschedule"
            wrong = [
                {},
                {"delay_s": 5, "run_at": "2030-01-01T00:00:00Z"},
                {"delay_s": -1},
                {"run_at": "2099-01-01T00:00:00Z"},
            ]
            for body in wrong:
                answer = await running.http.post(path, json=body)
                assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), body
            yard.stand_in.outcomes = [{"outcome": "applied"}]
            assert (await running.http.post(path, json={"delay_s": 30})).status_code == 202
            moved = (await yard.records("jobs.commands", count=2))[-1]
            until = datetime.fromisoformat(json.loads(moved.value)["run_at"]) - datetime.now(UTC)
            assert timedelta(0) < until <= timedelta(seconds=30)
            yard.stand_in.jobs[made] = {"id": made, "state": "running"}
            answer = await running.http.post(path, json={"delay_s": 30})
            assert (answer.status_code, answer.json()["code"]) == (409, "job_not_finished")
            assert answer.json()["detail"] == "Only a job that waits for its time can be moved; this one is running."

    asyncio.run(story())
