"""Schedules on a real database: they fire once, in time, and obey their rules."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from jobyard_executor.testing.runner import ScriptedRunner, ended

from .schedule_calls import V1, Play, body, client, fires, make, outcomes, tick


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
