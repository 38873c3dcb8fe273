"""Bulk operations on a real database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from .bulk_calls import BULK, LATER, Play, begin, client, jobs, look, states, steps


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
