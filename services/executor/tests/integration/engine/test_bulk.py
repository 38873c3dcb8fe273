"""Bulk operations and dead letters on a real database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from jobyard_common.contracts.jobs import Retry
from jobyard_common.runtime.health import Readiness
from jobyard_executor.domain.assignment import Failure, Verdict
from jobyard_executor.handlers.run_bulk import step_bulk
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_bulk import BulkApi
from jobyard_executor.inbound.http_dead_letters import DeadLetterApi
from jobyard_executor.inbound.http_shapes import filters_of_pairs
from jobyard_executor.testing.runner import ScriptedRunner, ended

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


def test_a_filter_is_cancelled_in_steps_and_the_rest_is_left_alone(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await jobs(bench, 1_100, tags=("old",))
        kept = await jobs(bench, 3, tags=("new",))
        bulk = await begin(bench, action="cancel", filter=[("tag", "old")])
        assert (bulk["state"], bulk["matched"], bulk["done"]) == ("running", 1_100, 0)
        assert await steps(bench) == 4
        found = await look(bench, bulk["id"])
        assert (found["state"], found["seen"], found["done"], found["refused"]) == ("done", 1_100, 1_100, {})
        assert await states(bench) == {"cancelled": 1_100, "queued": 3}
        assert (await bench.job(kept[0])).state == "queued"
        rows = await bench.pool.fetch("SELECT value FROM outbox WHERE topic = 'audit' ORDER BY id")
        actions = [msgspec.json.decode(row["value"])["action"] for row in rows]
        assert actions == ["bulk_operation.start", "bulk_operation.finish"]

    play(scenario)


def test_refusals_are_counted_by_code_and_each_id_is_taken_once(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first, second = await jobs(bench, 2)
        await bench.apply(bench.cancel(first))
        gone = bench.submit().job_id
        bulk = await begin(bench, action="cancel", ids=[first, second, second, gone, "nonsense"])
        await steps(bench)
        found = await look(bench, bulk["id"])
        assert (found["seen"], found["done"]) == (4, 1)
        assert found["refused"] == {"job_finished": 1, "not_found": 2}
        assert {row["code"] for row in found["refused_sample"]} == {"job_finished", "not_found"}
        assert await bench.count("tombstone") == 0

    play(scenario)


def test_a_dry_run_changes_nothing(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await jobs(bench, 15)
        async with client(bench) as http:
            answer = await http.post(BULK, json={"action": "cancel", "filter": [["state", "queued"]], "dry_run": True})
        assert (answer.status_code, answer.json()["matched"], len(answer.json()["sample"])) == (200, 15, 10)
        assert await bench.count("bulk_operation") == 0
        assert await steps(bench) == 0

    play(scenario)


def test_a_key_makes_one_operation(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await jobs(bench, 1)
        async with client(bench, **{"Idempotency-Key": "k"}) as http:
            sent = {"action": "cancel", "filter": [["state", "queued"]]}
            answers = [await http.post(BULK, json=sent) for _ in range(2)]
            assert answers[0].json()["id"] == answers[1].json()["id"]
            assert answers[1].headers["idempotency-replayed"] == "true"
            other = await http.post(BULK, json=sent | {"action": "retry"})
            assert other.json()["code"] == "idempotency_conflict"
        async with client(bench, **{"X-Jobyard-Tenant": "tnt_other"}) as http:
            path = f"{BULK}/{answers[0].json()['id']}"
            assert (await http.get(path)).status_code == 404
            assert (await http.post(f"{path}/abort")).status_code == 404

    play(scenario)


def test_the_rate_is_kept_over_time(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await jobs(bench, 100)
        bulk = await begin(bench, action="cancel", filter=[("state", "queued")], rate_per_s=20)
        await steps(bench)
        early = (await look(bench, bulk["id"]))["done"]
        assert early <= 40
        for _ in range(10):
            bench.clock.ahead += timedelta(seconds=0.5)
            await steps(bench)
        assert (await look(bench, bulk["id"]))["done"] == 100

    play(scenario)


def test_an_aborted_one_goes_no_further(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await jobs(bench, 600)
        bulk = await begin(bench, action="cancel", filter=[("state", "queued")])
        await steps(bench, most=1)
        async with client(bench) as http:
            answer = await http.post(f"{BULK}/{bulk['id']}/abort")
            assert (answer.json()["state"], answer.json()["done"]) == ("aborted", 500)
        assert await steps(bench) == 0
        assert await states(bench) == {"cancelled": 500, "queued": 100}

    play(scenario)


def test_reschedule_moves_what_is_scheduled(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        early = await jobs(bench, 3, run_at=bench.clock.now() + timedelta(hours=1))
        await jobs(bench, 2)
        bulk = await begin(bench, action="reschedule", ids=early + await jobs(bench, 1), run_at=LATER)
        await steps(bench)
        found = await look(bench, bulk["id"])
        assert (found["done"], found["refused"]) == (3, {"job_not_finished": 1})
        assert (await bench.job(early[0])).run_at.year == 2099

    play(scenario)


KILLED_WHILE_STEPPING = """
import asyncio, os, signal, sys
from jobyard_common.db.pool import create_pool
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.telemetry.tracing import Tracer
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.run_bulk import step_bulk
from jobyard_executor.inbound.http_shapes import filters_of_pairs
from jobyard_executor.store import bulk

steps = 0
update = bulk.update

async def dies(connection, row):
    global steps
    steps += 1
    if steps == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    await update(connection, row)

async def main():
    bulk.update = dies
    pool = await create_pool(sys.argv[1], application_name="dies")
    while await step_bulk(Engine(SystemClock(), Tracer("executor"), "dies"), pool, filters_of_pairs):
        pass

asyncio.run(main())
"""


def test_a_kill_repeats_nothing_and_leaves_nothing_out(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        done = await jobs(bench, 1_200)
        await bench.apply(*(bench.cancel(job_id) for job_id in done))
        bulk = await begin(bench, action="replay", filter=[("state", "cancelled")])
        command = [sys.executable, "-c", KILLED_WHILE_STEPPING, bench.dsn]
        assert await asyncio.to_thread(subprocess.call, command, env=dict(os.environ)) == -signal.SIGKILL
        assert (await look(bench, bulk["id"]))["done"] == 500
        await steps(bench)
        assert (await look(bench, bulk["id"]))["done"] == 1_200
        origins = await bench.pool.fetch("SELECT origin_id, count(*) FROM job WHERE origin_id <> '' GROUP BY 1")
        assert {row["origin_id"] for row in origins} == set(done)
        assert {row["count"] for row in origins} == {1}
        await bench.pool.execute("UPDATE bulk_operation SET state = 'running', cursor_at = NULL, seen = 0, applied = 0")
        await steps(bench)
        assert await bench.pool.fetchval("SELECT count(*) FROM job WHERE origin_id <> ''") == 1_200

    play(scenario)


async def dead(bench: Any, count: int, **spec: Any) -> list[str]:
    runner = ScriptedRunner(lambda a: ended(a, Verdict.ERROR, failure=Failure("x", "y", retryable=False)))
    work = await bench.work(runner)
    ids = await jobs(bench, count, retry=Retry(max_attempts=1), **spec)
    for job_id in ids:
        await bench.until(job_id, "failed")
    await work.drain()
    return ids


def test_dead_jobs_are_listed_edited_replayed_and_discarded(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first, second, third = await dead(bench, 3, tags=("night",))
        async with client(bench) as http:
            listed = (await http.get(LETTERS, params={"tag": "night"})).json()["data"]
            assert {row["id"] for row in listed} == {first, second, third}
            assert {(row["state"], row["handled"]) for row in listed} == {("open", None)}
            assert (await http.get(LETTERS, params={"tag": "day"})).json()["data"] == []
            sent = {"parameters": {"n": 2}, "note": "with a smaller n"}
            replayed = (await http.post(f"{LETTERS}/{first}/replay", json=sent)).json()
            assert (replayed["state"], replayed["handled"]["note"]) == ("replayed", "with a smaller n")
            new = await bench.job(replayed["handled"]["new_job_id"])
            assert (new.origin_id, new.state) == (first, "queued")
            assert '"parameters":{"n":2}' in new.spec.replace(" ", "")
            again = await http.post(f"{LETTERS}/{first}/replay", json={})
            assert (again.status_code, again.json()["code"]) == (409, "conflict")
            gone = (await http.post(f"{LETTERS}/{second}/discard", json={"note": "not needed"})).json()
            assert (gone["state"], gone["job"]["state"], gone["job"]["dead"]) == ("discarded", "failed", True)
            for state, ids in (("open", {third}), ("replayed", {first}), ("discarded", {second})):
                rows = (await http.get(LETTERS, params={"state": state})).json()["data"]
                assert {row["id"] for row in rows} == ids
            assert len((await http.get(LETTERS, params={"state": "all"})).json()["data"]) == 3
            assert (await http.get(f"{LETTERS}/{new.job_id}")).status_code == 404
        async with client(bench, **{"X-Jobyard-Tenant": "tnt_other"}) as http:
            assert (await http.get(f"{LETTERS}/{third}")).status_code == 404
            assert (await http.post(f"{LETTERS}/{third}/discard", json={})).status_code == 404

    play(scenario)


def test_many_dead_jobs_are_replayed_at_a_rate_or_discarded_with_a_note(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        ids = await dead(bench, 6)
        async with client(bench) as http:
            await http.post(f"{LETTERS}/{ids[0]}/discard", json={})
        bulk = await begin(bench, action="replay", filter=[("tool", "test.noop")], dead=True, rate_per_s=1000)
        await steps(bench)
        found = await look(bench, bulk["id"])
        assert (found["done"], found["refused"]) == (5, {})
        async with client(bench) as http:
            rows = (await http.get(LETTERS, params={"state": "replayed"})).json()["data"]
            assert {row["id"] for row in rows} == set(ids[1:])
        bulk = await begin(bench, action="discard", ids=[*ids, *(await jobs(bench, 1))], note="enough")
        await steps(bench)
        assert (await look(bench, bulk["id"]))["refused"] == {"conflict": 7}

    play(scenario)


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ({"action": "cancel"}, ""),
        ({"action": "reschedule", "ids": ["x"]}, "/run_at"),
        ({"action": "cancel", "filter": [["state", "nonsense"]]}, "state"),
    ],
)
def test_what_the_gateway_should_have_refused_is_refused(play: Play, sent: dict[str, Any], pointer: str) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as http:
            answer = await http.post(BULK, json=sent)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)

    play(scenario)
