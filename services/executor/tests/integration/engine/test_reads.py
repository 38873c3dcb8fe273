"""The read API over HTTP, and the plans of the queries that must stay fast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from jobyard_common.contracts.ids import new_id
from jobyard_common.messaging.offsets import Progress
from jobyard_common.runtime.health import Readiness
from jobyard_executor.domain.assignment import Output, OutputBatch
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.store import claiming, jobs, listing
from jobyard_executor.store.listing import Filters
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]
TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}
V1 = "/internal/v1"


def client(bench: Any, *, progress: Progress | None = None, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    barrier = Barrier(bench.pool, progress, topic="jobs.commands")
    api = ReadApi(bench.pool, barrier, by_key=bench.by_key)
    app = make_app(api, readiness=Readiness(), tracer=bench.engine.tracer, token=TOKEN)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://executor", headers=headers or AUTH)


def test_a_job_its_result_and_its_story(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(lambda a: ended(a, value=b'{"n": 1}')))
        submit = bench.submit(tags=("a",))
        await bench.apply(submit)
        await bench.until(submit.job_id, "succeeded")
        async with client(bench) as http:
            path = f"{V1}/jobs/{submit.job_id}"
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["state"], answer.json()["version"]) == (200, "succeeded", 3)
            last = (await bench.events(submit.job_id))[-1]["job"]
            assert answer.json() == last
            assert answer.headers["etag"].endswith('.3"')
            assert '"value":{"n": 1}' in (await http.get(f"{path}/result")).text
            story = (await http.get(f"{path}/events")).json()
            assert [row["state"] for row in story["data"]] == ["queued", "running", "succeeded"]
            told = [(e["incarnation"], e["output_seq"]) for e in await bench.events(submit.job_id)]
            assert [(row["incarnation"], row["output_seq"]) for row in story["data"]] == told and told[0][0] > 0
            assert (await http.get(f"{path}/attempts")).json()["data"][0]["attempt"] == 1
            assert (await http.get(f"{path}/explain")).json()["waiting_for"] == []
            fence = (await bench.job(submit.job_id)).fence
            committed = f"{V1}/committed/{submit.job_id}/1/{fence}"
            assert (await http.get(committed)).json() == {"committed": True}
            assert (await http.get(f"{V1}/committed/{submit.job_id}/1/{fence + 1}")).json() == {"committed": False}

    play(scenario)


def test_others_see_nothing(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit()
        await bench.apply(submit)
        async with client(bench, headers=AUTH | {"X-Jobyard-Tenant": "tnt_other"}) as http:
            for part in ("", "/result", "/events", "/attempts", "/explain"):
                assert (await http.get(f"{V1}/jobs/{submit.job_id}{part}")).status_code == 404
            assert (await http.get(f"{V1}/jobs")).json()["data"] == []
            known = await http.post(f"{V1}/jobs/exists", json={"ids": [submit.job_id]})
            assert known.json() == {"known": []}
        async with client(bench, headers={"X-Jobyard-Tenant": "tnt_test"}) as http:
            assert (await http.get(f"{V1}/jobs/{submit.job_id}")).status_code == 401

    play(scenario)


def test_filters_cursor_and_counts(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = []
        for number in range(7):
            submit = bench.submit(
                tags=("mine", "even" if number % 2 == 0 else "odd"),
                metadata=msgspec.Raw(b'{"group":"g","n":%d}' % number),
            )
            await bench.apply(submit)
            made.append(submit.job_id)
        await bench.apply(bench.cancel(made[0]))
        newest = list(reversed(made))
        async with client(bench) as http:

            async def ids(**query: Any) -> list[str]:
                return [job["id"] for job in (await http.get(f"{V1}/jobs", params=query)).json()["data"]]

            assert await ids() == newest
            assert await ids(tag=["mine", "even"]) == newest[::2]
            assert await ids(state="cancelled") == [made[0]]
            assert await ids(state=["cancelled", "queued"]) == newest
            assert await ids(state="running") == []
            assert await ids(**{"metadata.n": "3"}) == [made[3]]
            assert await ids(correlation_id="corr-1", queue="default", tool="test.noop") == newest
            assert await ids(created_before="2000-01-01T00:00:00Z") == []
            seen: list[str] = []
            query: dict[str, Any] = {"limit": 3}
            while True:
                page = (await http.get(f"{V1}/jobs", params=query)).json()
                seen += [job["id"] for job in page["data"]]
                if not page["has_more"]:
                    break
                query["cursor"] = page["next_cursor"]
            assert seen == newest
            counted = (await http.get(f"{V1}/jobs", params={"count": "exact", "limit": 1, "tag": "odd"})).json()
            assert (counted["count"], counted["count_capped"]) == (3, False)
            counts = (await http.get(f"{V1}/jobs/counts")).json()["counts"]
            assert (counts["queued"], counts["cancelled"], counts["running"]) == (6, 1, 0)

    play(scenario)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=99999999999999999999",
        "cursor=%21%21",
        "state=odd",
        "created_after=yesterday",
        "count=some",
        "tag=%00",
    ],
)
def test_wrong_parameters_are_named(play: Play, query: str) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as http:
            answer = await http.get(f"{V1}/jobs?{query}")
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
            assert answer.json()["errors"]

    play(scenario)


def test_min_version_waits_and_gives_up_with_the_older_one(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit()
        await bench.apply(submit)
        async with client(bench) as http:
            path = f"{V1}/jobs/{submit.job_id}"
            waiting = asyncio.create_task(http.get(path, params={"min_version": 2}))
            await asyncio.sleep(0.1)
            await bench.apply(bench.cancel(submit.job_id))
            assert (await waiting).json()["version"] == 2
            late = await http.get(path, params={"min_version": 99})
            assert (late.status_code, late.headers["x-jobyard-stale"]) == (200, "1")

    play(scenario)


def test_a_read_waits_for_the_callers_own_writes(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        progress = Progress({3: 10})
        submit = bench.submit()
        async with client(bench, progress=progress) as http:
            path = f"{V1}/jobs/{submit.job_id}"
            waiting = asyncio.create_task(http.get(path, headers={"X-Jobyard-After": "3:10"}))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await bench.apply(submit)
            progress.advance(3, 11)
            assert (await waiting).status_code == 200
            unknown = f"{V1}/jobs/{new_id('job')}"
            assert (await http.get(unknown, headers={"X-Jobyard-After": "3:10"})).status_code == 404
            assert (await http.get(unknown, headers={"X-Jobyard-After": "3:99"})).status_code == 503

    play(scenario)


def test_progress_is_shown_while_it_runs_and_kept_at_the_end(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(lambda _assignment: None)
        await bench.work(runner)
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        one = runner.assignments[0]
        fields = msgspec.Raw(b'{"done":2,"total":4,"note":"half"}')
        line = Output(10**9 + 1, datetime.now(UTC), "progress", fields=fields)
        runner.say(OutputBatch(one.job_id, one.tenant, one.attempt, one.fence, (line,)))
        async with client(bench) as http:
            for _ in range(200):
                shown = (await http.get(f"{V1}/jobs/{submit.job_id}")).json()["progress"]
                if shown is not None:
                    break
                await asyncio.sleep(0.02)
            assert (shown["done"], shown["total"], shown["note"]) == (2, 4, "half")
        runner.end(msgspec.structs.replace(ended(one), last_seq=10**9 + 1))
        job = await bench.until(submit.job_id, "succeeded")
        assert job.output_seq == 10**9 + 1
        assert '"done":2' in job.progress
        assert bench.published.records[0].key == submit.job_id

    play(scenario)


def test_why_a_job_waits(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit()
        await bench.apply(submit)
        async with client(bench) as http:
            told = (await http.get(f"{V1}/jobs/{submit.job_id}/explain")).json()
            assert (told["state"], told["waiting_for"][0]["kind"]) == ("queued", "worker")

    play(scenario)


HISTORY = 10_000


def test_hot_queries_use_their_indexes_on_a_fresh_table(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submits = [bench.submit(tags=("t",) if number % 100 == 0 else ()) for number in range(HISTORY)]
        for start in range(0, HISTORY, 1000):
            await bench.apply(*submits[start : start + 1000])
        ids = [submit.job_id for submit in submits[::20]]
        text, parameters = listing.page_query("tnt_test", Filters(), listing.NEWEST, after=None, limit=50)
        lane = await bench.pool.fetchval("SELECT lane FROM ready LIMIT 1")
        plans = {
            "get": await plan(bench, jobs.GET, ids[0], "tnt_test"),
            "lock": await plan(bench, jobs.LOCK, ids),
            "list": await plan(bench, text, *parameters),
            "first lanes": await plan(bench, claiming.FIRST_LANES, 64),
            "lanes": await plan(bench, claiming.LANES, None, [], [], [], [], [], 48, 200),
            "pick": await plan(bench, claiming.PICK, [lane], [0], [50], [50]),
            "take": await plan(bench, claiming.TAKE, ids),
        }
        for name, found in plans.items():
            scanned = {table for table in ("job_w", "job_list", "ready") if f"Seq Scan on {table}" in found}
            assert not scanned, f"{name} reads all of {scanned}:\n{found}"
        assert "ready_turn" in plans["pick"]
        assert "tenant_created_at" in plans["list"]

    play(scenario)


async def plan(bench: Any, sql: str, *parameters: Any) -> str:
    rows = await bench.pool.fetch(f"EXPLAIN {sql}", *parameters)
    return "\n".join(row[0] for row in rows)
