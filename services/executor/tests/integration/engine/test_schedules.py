"""Schedules on a real database: they fire once, in time, and obey their rules."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jobyard_common.contracts.jobs import JobSpec
from jobyard_common.db.pool import create_pool
from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.tracing import Tracer
from jobyard_executor.handlers import fire_schedules as firing
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_schedules import fire_schedules, start_waiting
from jobyard_executor.handlers.fire_timers import fire_timers
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_schedules import ScheduleApi
from jobyard_executor.store import jobs
from jobyard_executor.store import schedules as store
from jobyard_executor.testing.runner import ScriptedRunner, ended

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


def test_a_fire_makes_a_job_that_names_its_schedule(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=60)
        await tick(bench, seconds=30)
        assert await fires(bench, made["id"]) == []
        await tick(bench, seconds=40)
        (fire,) = await fires(bench, made["id"])
        assert (fire["kind"], fire["outcome"], fire["job_state"]) == ("timer", "started", "queued")
        job = await bench.job(fire["job_id"])
        assert (job.schedule_id, job.actor) == (made["id"], f'{{"kind":"schedule","id":"{made["id"]}"}}')
        event = (await bench.events(job.job_id))[0]
        assert event["job"]["schedule_id"] == made["id"]
        async with client(bench) as http:
            shown = (await http.get(f"{V1}/{made['id']}")).json()
        assert shown["last_fire"] == {"fire_at": fire["fire_at"], "outcome": "started", "job_id": job.job_id}
        assert fire["fire_at"] == made["next_fires"][0]
        assert shown["next_fires"][0] == made["next_fires"][1]

    play(scenario)


def test_it_is_made_changed_and_deleted_with_an_audit_entry_each(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as http:
            first = await http.post(V1, json=body(cron="@daily"), headers={"Idempotency-Key": "k"})
            again = await http.post(V1, json=body(cron="@daily"), headers={"Idempotency-Key": "k"})
            assert (first.json()["id"], again.headers["idempotency-replayed"]) == (again.json()["id"], "true")
            other = await http.post(V1, json=body(cron="@weekly"), headers={"Idempotency-Key": "k"})
            assert other.json()["code"] == "idempotency_conflict"
            path, tag = f"{V1}/{first.json()['id']}", first.headers["etag"]
            changed = await http.put(path, json=body(cron="@hourly", name="often"), headers={"If-Match": tag})
            assert (changed.status_code, changed.json()["version"], changed.json()["name"]) == (200, 2, "often")
            stale = await http.put(path, json=body(cron="@daily"), headers={"If-Match": tag})
            assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
            paused = await http.post(f"{path}/pause")
            assert (paused.json()["state"], paused.json()["next_fires"]) == ("paused", [])
            assert (await http.post(f"{path}/resume")).json()["state"] == "active"
            assert len((await http.get(path, params={"next": 7})).json()["next_fires"]) == 7
            assert [row["name"] for row in (await http.get(V1)).json()["data"]] == ["often"]
            assert (await http.delete(path)).status_code == 204
            assert (await http.get(path)).status_code == 404
        rows = await bench.pool.fetch("SELECT value FROM outbox WHERE topic = 'audit' ORDER BY id")
        actions = [msgspec.json.decode(row["value"])["action"].partition(".")[2] for row in rows]
        assert actions == ["create", "replace", "pause", "resume", "delete"]

    play(scenario)


def test_another_tenant_sees_no_schedule(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, cron="@daily")
        async with client(bench, **{"X-Jobyard-Tenant": "tnt_other"}) as http:
            path = f"{V1}/{made['id']}"
            assert (await http.get(V1)).json()["data"] == []
            answers = [
                await http.get(path), await http.get(f"{path}/fires"), await http.put(path, json=body(cron="@daily")),
                await http.delete(path), await http.post(f"{path}/pause"), await http.post(f"{path}/trigger", json={}),
                await http.post(
                    f"{path}/backfill", json={"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
                ),
            ]  # fmt: skip
            assert {answer.status_code for answer in answers} == {404}

    play(scenario)


@pytest.mark.parametrize(
    ("rule", "expected"), [("none", ["missed"]), ("last", ["missed", "started"]), ("all", ["started"] * 5)]
)
def test_missed_fires_obey_catch_up(play: Play, rule: str, expected: list[str]) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=3600, catch_up=rule)
        await tick(bench, hours=5, minutes=30)
        assert await outcomes(bench, made["id"]) == expected
        assert await bench.count("job") == expected.count("started")

    play(scenario)


def test_a_pause_leaves_out_what_falls_into_it(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=3600, catch_up="all")
        async with client(bench) as http:
            await http.post(f"{V1}/{made['id']}/pause")
            await tick(bench, hours=5)
            await http.post(f"{V1}/{made['id']}/resume")
            await tick(bench, minutes=30)
            assert await outcomes(bench, made["id"]) == []
            await tick(bench, hours=1)
        assert await outcomes(bench, made["id"]) == ["started"]

    play(scenario)


def test_skip_and_queue_wait_for_the_job_before(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        skip = await make(bench, interval_s=100, overlap="skip")
        queue = await make(bench, interval_s=100, overlap="queue")
        for _ in range(3):
            await tick(bench, seconds=100)
        assert await outcomes(bench, skip["id"]) == ["started", "skipped", "skipped"]
        assert await outcomes(bench, queue["id"]) == ["started", "waiting", "waiting"]
        await bench.work(ScriptedRunner(lambda a: ended(a)))
        for count in (1, 2, 3):
            job_ids = [row["job_id"] for row in await fires(bench, queue["id"]) if row["job_id"]]
            assert len(job_ids) == count
            await bench.until(job_ids[-1], "succeeded")
            await tick(bench)
        assert await outcomes(bench, queue["id"]) == ["started"] * 3
        assert await bench.pool.fetchval("SELECT waiting FROM schedule WHERE id = $1", queue["id"]) is False

    play(scenario)


def test_replace_cancels_the_job_before(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=100, overlap="replace")
        await tick(bench, seconds=101)
        await tick(bench, seconds=100)
        first, second = [row["job_id"] for row in await fires(bench, made["id"])]
        assert (await bench.job(first)).state == "cancelled"
        assert (await bench.job(second)).state == "queued"

    play(scenario)


def test_trigger_fires_now_and_obeys_overlap(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, cron="@yearly", overlap="skip", paused=True)
        async with client(bench) as http:
            path = f"{V1}/{made['id']}/trigger"
            answers = [await http.post(path, json=sent) for sent in ({}, {}, {"overlap": "allow"})]
        assert [answer.status_code for answer in answers] == [202] * 3
        assert [answer.json()["outcome"] for answer in answers] == ["started", "skipped", "started"]
        assert (await bench.job(answers[0].json()["job_id"])).state == "queued"

    play(scenario)


def test_backfill_fills_gaps_once(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=3600, catch_up="last", starts_at="2026-01-01T00:00:00Z")
        await tick(bench)
        span = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-03T00:00:00Z"}
        async with client(bench) as http:
            path = f"{V1}/{made['id']}/backfill"
            dry = (await http.post(path, json=span | {"dry_run": True})).json()
            assert (dry["count"], dry["already"], dry["fires"][0]) == (48, 0, "2026-01-01T00:00:00.000Z")
            assert await bench.count("schedule_fire") == 0
            assert (await http.post(path, json=span)).json()["count"] == 48
            assert (await http.post(path, json=span)).json() | {"fires": []} == {
                "count": 0, "already": 48, "dry_run": False, "fires": [],
            }  # fmt: skip
            await tick(bench)
            assert await bench.count("job") == 48
            ahead = await http.post(path, json={"since": "2026-01-01T00:00:00Z", "until": "2099-01-03T00:00:00Z"})
            assert (ahead.status_code, ahead.json()["errors"][0]["pointer"]) == (422, "/until")

    play(scenario)


def test_a_retired_tool_is_a_failure_that_can_be_seen(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=60)
        await tick(bench, seconds=61)
        await bench.pool.execute("UPDATE tool_version SET retired = true WHERE name = 'test.noop'")
        await tick(bench, seconds=60)
        row = (await fires(bench, made["id"]))[-1]
        assert (row["outcome"], row["job_state"], row["job_reason"]) == ("started", "failed", "rejected")

    play(scenario)


def test_jitter_delays_the_job_and_not_the_schedule(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=3600, jitter_s=1800)
        await tick(bench, seconds=3601)
        (fire,) = await fires(bench, made["id"])
        job = await bench.job(fire["job_id"])
        delay = job.run_at - datetime.fromisoformat(fire["fire_at"])
        assert timedelta() < delay < timedelta(seconds=1800)
        assert job.state == "scheduled"

    play(scenario)


def test_one_that_cannot_be_stored_does_not_hold_up_the_others(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        bad, zone, good = [await make(bench, interval_s=60) for _ in range(3)]
        await bench.pool.execute(
            'UPDATE schedule SET spec = replace(spec, \'"tags":[]\', \'"tags":["\\u0000"]\') WHERE id = $1', bad["id"]
        )
        await bench.pool.execute(
            "UPDATE schedule SET cron = '@daily', timezone = 'Atlantis/Capital' WHERE id = $1", zone["id"]
        )
        await tick(bench, seconds=61)
        found = [(await fires(bench, one["id"]))[0] for one in (bad, zone, good)]
        assert [row["outcome"] for row in found] == ["skipped", "skipped", "started"]
        assert [row["reason"] for row in found] == ["unusable", "unusable", None]

    play(scenario)


async def many(bench: Any, count: int) -> None:
    """`count` schedules that are due in one minute."""
    made = await make(bench, interval_s=60)
    columns = ", ".join(name for name in store.COLUMNS if name not in ("id", "secret"))
    await bench.pool.execute(
        f"INSERT INTO schedule (id, secret, {columns}) SELECT 'sch_' || n, sha256(n::text::bytea), {columns} "
        f"FROM schedule, generate_series(2, $1::int) n WHERE id = $2",
        count,
        made["id"],
    )


def test_ten_thousand_at_once_fire_once_each_with_three_replicas(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await many(bench, 10_000)
        bench.clock.ahead += timedelta(seconds=61)
        pools = [await create_pool(bench.dsn, application_name=f"replica-{n}") for n in range(3)]
        engines = [Engine(bench.clock, Tracer("executor"), f"executor-{n}") for n in range(3)]

        async def replica(engine: Engine, pool: Any) -> int:
            fired = 0
            while count := await fire_schedules(engine, pool):
                fired += count
            return fired

        counts = await asyncio.gather(*(replica(e, p) for e, p in zip(engines, pools, strict=True)))
        for pool in pools:
            await pool.close()
        while await fire_schedules(bench.engine, bench.pool):
            continue
        assert sum(counts) >= 9_000
        assert len([count for count in counts if count]) > 1
        assert await bench.count("job") == 10_000
        assert await bench.count("schedule_fire") == 10_000
        assert await bench.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'jobs.events'") == 10_000
        assert await bench.pool.fetchval("SELECT count(*) FROM schedule WHERE last_job_id IS NULL") == 0

    play(scenario)


KILLED_WHILE_FIRING = """
import asyncio, os, signal, sys
from datetime import timedelta
from jobyard_common.db.pool import create_pool
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.telemetry.tracing import Tracer
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_schedules import fire_schedules
from jobyard_executor.store import schedules

class Ahead(SystemClock):
    def now(self):
        return super().now() + timedelta(seconds=61)

async def dies(connection, rows):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    schedules.advance = dies
    pool = await create_pool(sys.argv[1], application_name="dies")
    await fire_schedules(Engine(Ahead(), Tracer("executor"), "dies"), pool)

asyncio.run(main())
"""


def test_a_replica_killed_between_insert_and_advance_leaves_nothing_behind(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await many(bench, 50)
        command = [sys.executable, "-c", KILLED_WHILE_FIRING, bench.dsn]
        ended_by = await asyncio.to_thread(subprocess.call, command, env=dict(os.environ))
        assert ended_by == -signal.SIGKILL
        assert await bench.count("job") == 0
        await tick(bench, seconds=61)
        assert await bench.count("job") == 50
        assert await bench.count("schedule_fire") == 50

    play(scenario)


def test_a_fire_that_is_repeated_after_its_time_was_lost_makes_no_second_job(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        made = await make(bench, interval_s=60)
        await tick(bench, seconds=61)
        before = await fires(bench, made["id"])
        await bench.pool.execute("UPDATE schedule SET next_at = next_at - interval '60 s'")
        await tick(bench)
        assert await fires(bench, made["id"]) == before
        assert await bench.count("job") == 1

    play(scenario)


def test_a_hundred_thousand_jobs_far_ahead_are_rows_and_not_memory(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first = bench.submit(run_at=datetime.now(UTC) + timedelta(days=3600))
        await bench.apply(first)
        columns = ", ".join(name for name in jobs.COLUMNS if name != "job_id")
        clones = "SELECT left($1, 26) || 'A' || lpad(g::text, 6, '0') AS id FROM generate_series(1, 100000) g"
        await bench.pool.execute(
            f"INSERT INTO job (job_id, {columns}) SELECT id, {columns} FROM job, ({clones}) c WHERE job_id = $1",
            first.job_id,
        )
        await bench.pool.execute(
            "INSERT INTO timer SELECT job_id, 'start', run_at FROM job WHERE job_id <> $1", first.job_id
        )
        await fire_timers(bench.engine, bench.pool)
        before = resident()
        for _ in range(50):
            assert await fire_timers(bench.engine, bench.pool) == 0
            await tick(bench)
        assert await bench.count("timer") == 100_001
        assert resident() - before < 10 * 1024 * 1024

    play(scenario)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_due_are_found_by_their_index(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await many(bench, 5_000)
        await bench.pool.execute("ANALYZE schedule")
        plan = "\n".join(
            row[0]
            for row in await bench.pool.fetch(
                f"EXPLAIN {store.DUE}", datetime.now(UTC) - timedelta(days=1), firing.BATCH
            )
        )
        assert "schedule_due" in plan
        assert "Seq Scan" not in plan

    play(scenario)
