"""Queues: declared, paused, drained, changed, counted; routes of tools; workers that drain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain import queue_file, work_queues
from jobyard_executor.domain.queue_file import QueueFileInvalid
from jobyard_executor.handlers.declare_queues import declare_queues
from jobyard_executor.inbound.declaring import Declaring
from jobyard_executor.store import limits, queues, sessions
from jobyard_executor.testing.runner import ScriptedRunner

from .queue_calls import audited, client, session_of, started

Play = Callable[[Any], None]
FILE = """
[queues.fast]
weight = 3
concurrency = 5
rate = {count = 10, per_s = 2}
max_waiting = 100
[queues.bulk]
[routes]
"table.profile" = "bulk"
"""


def test_settings_declare_queues_and_operators_win(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        declared = queue_file.declared(("a", "b", "c", "d"), FILE)
        declaring = Declaring(bench.pool, declared)
        await declaring.start()
        await declare_queues(bench.pool, declared)
        async with client(bench) as http:
            rows = {row["name"]: row for row in (await http.get("/queues")).json()["data"]}
            assert set(rows) == {"a", "b", "bulk", "c", "d", "default", "fast"}
            assert rows["fast"]["weight"] == 3
            assert rows["fast"]["limits"] == {
                "concurrency": 5,
                "rate": {"count": 10, "per_s": 2.0, "burst": 5},
                "max_waiting": 100,
            }
            assert (await http.get("/queue-rules")).json()["routes"] == {"table.profile": "bulk"}
            changed = await http.patch("/queues/fast", json={"weight": 7, "limits": {"concurrency": 9}})
            assert (changed.status_code, changed.json()["limits"]["rate"]["count"]) == (200, 10)
            await http.put("/routes/table.profile", json={"queue": "fast"})
            await declare_queues(bench.pool, declared)
            after = (await http.get("/queues/fast")).json()
            assert (after["weight"], after["limits"]["concurrency"]) == (7, 9)
            assert (await http.get("/queue-rules")).json()["routes"] == {"table.profile": "fast"}
        await declaring.stop()

    play(scenario)


@pytest.mark.parametrize(
    "text",
    [
        "[queues.Fast]",
        "[queues.a]\nweight = 0",
        "[queues.a]\nrate = {count = 0}",
        "[queues.a]\nsize = 3",
        "[queues.a]\nconcurrency = -1",
        '[routes]\nx = "nowhere"',
        "queues = 3",
        "[queues",
    ],
)
def test_files_that_make_no_sense(text: str) -> None:
    with pytest.raises(QueueFileInvalid):
        queue_file.declared((), text)


def test_a_paused_queue_starts_nothing_and_goes_on_when_resumed(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session, claimer = await session_of(bench), bench.claimer()
        other = bench.submit(queue="other")
        await queues.declare(bench.pool, "other", weight=1, max_waiting=None)
        jobs = [bench.submit() for _ in range(3)]
        await bench.apply(*jobs, other)
        async with client(bench) as http:
            paused = await http.post("/queues/default/pause")
            assert (paused.status_code, paused.json()["paused"]) == (200, True)
            assert await started(bench, session, claimer=claimer) == [other.job_id]
            assert await started(bench, session, claimer=claimer) == []
            told = (await http.get(f"/jobs/{jobs[0].job_id}/explain")).json()["waiting_for"]
            assert told[0]["kind"] == "queue_paused"
            shown = (await http.get("/queues/default")).json()
            assert shown["depth"]["queued"] == shown["waiting_of_tenant"] == 3
            assert shown["oldest_age_s"] >= 0
            await http.post("/queues/default/resume")
        claimer._rules_until = 0.0
        assert len(await started(bench, session, claimer=claimer)) == 3
        assert await audited(bench) == ["queue.pause", "queue.resume"]

    play(scenario)


def test_a_draining_queue_runs_what_waits_and_says_so(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.apply(bench.submit())
        async with client(bench) as http:
            assert (await http.post("/queues/default/drain")).json()["draining"] is True
            assert (await http.get("/queue-rules")).json()["queues"]["default"]["draining"] is True
            assert len(await started(bench, await session_of(bench))) == 1
            assert (await http.get("/queues/default")).json()["depth"]["running"] == 1
            assert (await http.post("/queues/default/resume")).json()["draining"] is False

    play(scenario)


def test_a_change_on_what_was_changed_meanwhile_is_refused(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as http:
            tag = (await http.get("/queues/default")).headers["etag"]
            first = await http.patch("/queues/default", json={"weight": 2}, headers={"If-Match": tag})
            assert (first.status_code, first.json()["weight"]) == (200, 2)
            second = await http.patch("/queues/default", json={"weight": 4}, headers={"If-Match": tag})
            assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
            assert second.headers["etag"] == first.headers["etag"] != tag
            put = await http.put("/limits/queue:default", json={"concurrency": 3})
            assert put.status_code == 201
            third = await http.patch("/queues/default", json={"weight": 4}, headers={"If-Match": first.headers["etag"]})
            assert third.status_code == 412
            cleared = await http.patch("/queues/default", json={"limits": {"concurrency": None}})
            assert cleared.json()["limits"]["concurrency"] is None
            assert await limits.get(bench.pool, "queue:default") is None
            assert (await http.get("/queues/default")).json()["weight"] == 2

    play(scenario)


HOSTILE = [
    b"", b"[]", b"{", b"\xff", b'{"weight": 0}', b'{"weight": "x"}', b'{"weight": 1e999}', b'{"name": "x"}',
    b'{"paused": 1}', b'{"limits": {"concurrency": -1}}', b'{"limits": {"rate": {"count": 1, "per_s": 0}}}',
    b'{"limits": {"rate": 3}}',
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_changes_are_refused(play: Play, body: bytes) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as http:
            for method, path in (("PATCH", "/queues/default"), ("PUT", "/limits/tool:a"), ("PUT", "/routes/a")):
                answer = await http.request(method, path, content=body)
                assert answer.status_code in (400, 422), (method, path, answer.text)
            assert (await http.patch("/queues/nowhere", json={"paused": True})).status_code == 404
            assert (await http.put("/routes/a", json={"queue": "nowhere"})).status_code == 422
            assert (await http.delete("/routes/a")).status_code == 404
        assert await bench.count("queue") == await bench.count("limit") == await bench.count("route") == 0

    play(scenario)


def test_jobs_are_counted_by_state(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        later = bench.clock.now() + timedelta(hours=1)
        parent = bench.submit(queue="q")
        await bench.apply(parent, bench.submit(queue="q", run_at=later), bench.submit(queue="q", priority=9))
        await bench.apply(bench.submit(queue="q", depends_on=(parent.job_id,)))
        async with client(bench) as http:
            await queues.declare(bench.pool, "q", weight=1, max_waiting=7)
            await started(bench, await session_of(bench), slots=1)
            bench.engine.flow.close_slice()
            await queues.keep_flow(bench.pool, "executor-1", [("q", 4, 1)])
            await queues.keep_flow(bench.pool, "executor-2", [("q", 2, 1)])
            shown = (await http.get("/queues/q")).json()
        want = {"queued": 1, "running": 1, "cancelling": 0, "scheduled": 1, "retry_wait": 0, "blocked": 1}
        assert shown["depth"] == want
        assert shown["limits"]["max_waiting"] == 7
        assert shown["rates"] == {"in_per_min": 6.0, "out_per_min": 2.0}
        assert 0 <= shown["oldest_age_s"] < 60

    play(scenario)


def test_an_executor_claims_from_its_queues_within_its_pools(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.apply(*[bench.submit(queue=name) for name in ("bulk", "fast", "other") for _ in range(4)])
        session, claimer = await session_of(bench), bench.claimer()
        claimer.queues = work_queues.parse(["bulk:1", "fast"])
        found = await claimer.claim(session, free={"async": 10})
        assert sorted(held.spec.queue for held in found) == ["bulk", "fast", "fast", "fast", "fast"]
        claimer.busy_queues = lambda: ["bulk"]
        assert await claimer.claim(session, free={"async": 10}) == []
        claimer.queues = work_queues.parse(["bulk:3", "*"])
        found = await claimer.claim(session, free={"async": 10})
        assert sorted(held.spec.queue for held in found) == ["bulk", "bulk", *["other"] * 4]

    play(scenario)


def test_a_drained_worker_claims_nothing_in_this_session_and_the_next(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(lambda _assignment: None)
        work = await bench.work(runner)
        first = bench.submit()
        await bench.apply(first)
        await bench.until(first.job_id, "running")
        async with client(bench) as http:
            (worker,) = (await http.get("/workers")).json()["data"]
            assert (worker["id"], worker["alive"], worker["draining"]) == ("executor-1", True, False)
            assert worker["slots"]["async"] == {"used": 1, "total": 256}
            answer = await http.post("/workers/executor-1/drain")
            assert (answer.status_code, answer.json()["draining"]) == (200, True)
            assert [job["job_id"] for job in answer.json()["jobs"]] == [first.job_id]
            second = bench.submit()
            await bench.apply(second)
            work.wake()
            assert await started(bench, work.session) == []
            again = await session_of(bench, "ses_2", instance="executor-1")
            assert await started(bench, again) == []
            await bench.pool.execute("DELETE FROM worker WHERE session = 'ses_2'")
            told = (await http.get(f"/jobs/{second.job_id}/explain")).json()["waiting_for"]
            assert told[0]["kind"] == "worker_draining" and "executor-1" in told[0]["detail"]
            assert (await bench.job(first.job_id)).state == "running"
            assert (await http.post("/workers/executor-1/resume")).json()["draining"] is False
            work.wake()
            await bench.until(second.job_id, "running")
            assert (await http.post("/workers/nobody/drain")).status_code == 404
        async with client(bench, tenant="tnt_other") as http:
            assert (await http.get("/workers/executor-1")).json()["jobs"] == []
        assert await audited(bench) == ["worker.drain", "worker.resume"]

    play(scenario)


def test_a_job_says_when_no_worker_works_for_its_queue(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await session_of(bench, offer=sessions.Offer(queues=["fast:3"]))
        job = bench.submit()
        await bench.apply(job)
        async with client(bench) as http:
            told = (await http.get(f"/jobs/{job.job_id}/explain")).json()["waiting_for"]
        assert [row["kind"] for row in told] == ["queue"]

    play(scenario)


def test_claims_are_held_as_long_as_they_are_told_to(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.apply(bench.submit())
        session, claimer = await session_of(bench), bench.claimer()
        claimer.held_until = bench.clock.monotonic() + 22
        assert await started(bench, session, claimer=claimer) == []
        bench.clock.ahead = timedelta(seconds=23)
        assert len(await started(bench, session, claimer=claimer)) == 1

    play(scenario)


def test_counts_are_kept_for_a_while_and_made_anew_behind_the_answer(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        from jobyard_executor.handlers.count_waiting import WaitingCounts

        counts = WaitingCounts(bench.pool, least_s=0.02)
        assert (await counts.get()).of("default")["queued"] == 0
        await bench.apply(bench.submit())

        async def counted() -> bool:
            return (await counts.get()).of("default")["queued"] == 1

        await eventually(counted, what="the new count")
        assert (await counts.get()).of_tenant("tnt_test") == 1
        await counts.close()

    play(scenario)
