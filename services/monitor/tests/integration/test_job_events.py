"""Events of jobs and files: timelines, states, counts."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

TIMELINE = "SELECT * FROM job_step ORDER BY job_id, incarnation, event_no"
STATES = "SELECT * FROM job_state ORDER BY job_id"


def test_a_job_with_its_files_and_attempts_is_one_story(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        error = {"code": "test_flaky", "message": "no"}
        async with bench:
            refused = await bench.apply(
                records.file("file_in", 1, "created", seconds=-5),
                records.file("file_in", 2, "completed", seconds=-4),
                records.event(job, 1, "queued", files={"data": "file_in"}),
                records.event(job, 2, "started", files={"data": "file_in"}),
                records.event(job, 3, "retrying", reason="error", error=error, files={"data": "file_in"}),
                records.event(job, 4, "started", attempt=2, files={"data": "file_in"}),
                records.event(job, 5, "succeeded", attempt=2, files={"data": "file_in"}),
                records.file("file_out", 1, "completed", seconds=4.5, job_id=job, name="report\x00.html"),
                records.file("file_other", 1, "completed", seconds=1),
            )
            assert refused == []
            told = await bench.get(f"/v1/jobs/{job}/timeline")
        names = [row["data"]["file_id"] if row["kind"] == "file" else row["type"].split(".")[2] for row in told["data"]]
        assert names == ["file_in", "file_in", "queued", "started", "retrying", "started", "file_out", "succeeded"]
        assert told["data"][6]["data"]["name"] == "report\N{REPLACEMENT CHARACTER}.html"
        assert [row["data"]["made_by_job"] for row in told["data"] if row["kind"] == "file"] == [False, False, True]
        assert told["data"][4]["data"]["error"] == error
        assert told["data"][2]["actor"] == {"kind": "key", "id": "key_1"}
        assert [(row["attempt"], row["outcome"]) for row in told["attempts"]] == [(1, "failed"), (2, "succeeded")]

    asyncio.run(go())


def test_duplicates_and_disorder_change_nothing(bench: Any, records: Any) -> None:
    async def go() -> None:
        events = [event for _ in range(20) for event in records.life(records.job_id())]
        dice = random.Random(7)
        async with bench:
            await bench.apply(*events)
            once = await bench.rows(TIMELINE), await bench.rows(STATES)
            await bench.pool.execute("TRUNCATE timeline, chapter, job_state")
            muddled = events + dice.sample(events, 30)
            dice.shuffle(muddled)
            for start in range(0, len(muddled), 7):
                await bench.apply(*muddled[start : start + 7])
            await bench.apply(*events[:5])
            assert (await bench.rows(TIMELINE), await bench.rows(STATES)) == once
            assert len(once[0]) == 60
            assert {row[0] for row in await bench.rows("SELECT state FROM job_state")} == {"succeeded"}

    asyncio.run(go())


def test_a_new_incarnation_wins_over_higher_numbers_of_the_old(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        async with bench:
            await bench.apply(*records.life(job))
            await bench.apply(records.event(job, 1, "queued", incarnation=2))
            await bench.apply(records.event(job, 3, "succeeded"))
            assert await bench.rows("SELECT state, incarnation, finished_at FROM job_state") == [("queued", 2, None)]

    asyncio.run(go())


def test_counts_rates_and_durations(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            for run_ms in range(1, 101):
                await bench.apply(*records.life(records.job_id(), run_ms=run_ms))
            await bench.apply(
                records.event(records.job_id(), 1, "failed", tool="test.fail", run_ms=1000),
                records.event(records.job_id(), 1, "queued"),
                records.event(records.job_id(), 1, "started", tool="test.fail"),
                records.event(records.job_id(), 1, "queued", tenant="tnt_other"),
                records.event(records.job_id(), 1, "succeeded", seconds=-7200),
            )
            told = await bench.get("/v1/stats", window_s=3600)
            assert told["states"] == {"failed": 1, "queued": 1, "running": 1, "succeeded": 100}
            assert told["success_rate"] == pytest.approx(100 / 101)
            tools = {row["tool"]: row for row in told["tools"]}
            assert tools["test.fail"]["states"] == {"failed": 1, "running": 1}
            assert tools["test.noop"]["run_ms"]["succeeded"] == {"p50": 50.5, "p95": pytest.approx(95.05)}
            other = await bench.get("/v1/stats", tenant="tnt_other")
            assert (other["states"], other["success_rate"]) == ({"queued": 1}, None)

    asyncio.run(go())


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda job: {**job, "id": "job_1"}, id="id"),
        pytest.param(lambda job: {**job, "state": "dancing"}, id="state"),
        pytest.param(lambda job: {**job, "attempt": 2**40}, id="attempt beyond its column"),
        pytest.param(lambda job: {**job, "created_at": "2026-01-01T00:00:00"}, id="no zone"),
        pytest.param(lambda job: {**job, "created_at": "0001-01-01T00:00:00+14:00"}, id="before the calendar"),
        pytest.param(lambda job: {**job, "created_at": "9999-01-01T00:00:00Z"}, id="not of this age"),
        pytest.param(lambda job: {**job, "tool": "x" * 300}, id="endless name"),
        pytest.param(lambda job: {**job, "run_ms": 2**70}, id="run_ms beyond its column"),
        pytest.param(lambda _: [], id="not an object"),
    ],
)
def test_an_event_that_cannot_be_stored_is_refused_alone(bench: Any, records: Any, broken: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        good, bad = records.event(job, 1, "queued"), records.event(records.job_id(), 1, "queued")
        body = msgspec.json.decode(bad.value)
        body["job"] = broken(body["job"])
        bad.value = msgspec.json.encode(body)
        async with bench:
            refused = await bench.apply(bad, good)
            assert [(row.inbound, row.reason) for row in refused] in (
                [(bad, "deserialization")],
                [(bad, "validation")],
            )
            assert await bench.rows("SELECT job_id FROM job_step") == [(job,)]

    asyncio.run(go())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: setattr(record, "value", None), "deserialization"),
        (lambda record: setattr(record, "value", b"\xff\x00{"), "deserialization"),
        (lambda record: setattr(record, "value", b"[" * 5000), "deserialization"),
        (lambda record: setattr(record, "headers", []), "envelope"),
        (lambda record: record.headers.append(("ce_time", b"yesterday")), "envelope"),
        (lambda record: record.headers.append(("ce_type", b"\xff")), "envelope"),
        (lambda record: record.headers.append(("ce_type", b"com.example.made")), "unknown_type"),
        (lambda record: record.headers.append(("ce_time", b"0001-01-01T00:00:00+14:00")), "envelope|validation"),
    ],
)
def test_rubbish_has_a_reason_on_every_topic(bench: Any, records: Any, change: Any, reason: str) -> None:
    async def go() -> None:
        job = records.job_id()
        made = [
            records.event(job, 1, "queued"),
            records.pack(job, records.line(10**9 + 1)),
            records.file("file_1", 1, "created", seconds=0),
            records.logs(records.log(0)),
            records.beat("executor", at=records.start),
            records.audit("aud_1", 0),
        ]
        for record in made:
            change(record)
        async with bench:
            refused = await bench.apply(*made)
            assert [row.inbound for row in refused] == made
            assert {row.reason for row in refused} <= set(reason.split("|"))

    asyncio.run(go())


def test_a_type_of_ours_that_is_newer_than_we_are_is_passed_over(bench: Any, records: Any) -> None:
    async def go() -> None:
        newer = records.event(records.job_id(), 1, "queued")
        newer.headers.append(("ce_type", b"jobyard.job.pondered.v1"))
        async with bench:
            assert await bench.apply(newer) == []
            assert await bench.rows(TIMELINE) == []

    asyncio.run(go())
