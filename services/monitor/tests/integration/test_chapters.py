"""Chapters and states of jobs: whatever order, gaps and versions events come in."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from jobyard_common.db.migrate import migrate
from jobyard_common.db.pool import create_pool
from jobyard_monitor.store import job_events

TO_TIMELINE = """
INSERT INTO timeline (tenant, job_id, incarnation, event_no, job_created_at, at, type, state, reason, attempt,
                      actor_kind, actor_id, worker, wait_ms, run_ms, error, output_seq)
SELECT tenant, job_id, incarnation, event_no, now(), at, type, state, reason, attempt, actor_kind, actor_id, worker,
       wait_ms, run_ms, error, output_seq FROM job_step
"""


def test_a_gap_a_late_first_event_and_a_repeated_batch_end_in_the_same_state(bench: Any, records: Any) -> None:
    """Jobs that are most likely new are there, and jobs that are most likely there are not."""

    async def go() -> None:
        lost, late, again, other = (records.job_id() for _ in range(4))
        life = records.life(again)
        async with bench:
            await bench.apply(records.event(late, 2, "started"), *life[:2])
            await bench.apply(
                records.event(lost, 2, "started"),
                records.event(late, 1, "queued"),
                *life,
                *records.life(other),
            )
            await bench.apply(records.event(lost, 3, "succeeded"), *life[1:])
            found = await bench.rows("SELECT job_id, event_no, state, finished_at IS NULL FROM job_state")
            assert set(found) == {
                (lost, 3, "succeeded", False),
                (late, 2, "running", True),
                (again, 3, "succeeded", False),
                (other, 3, "succeeded", False),
            }
            numbers = await bench.rows("SELECT job_id, event_no FROM job_step ORDER BY event_no")
            assert {job: [no for found, no in numbers if found == job] for job in (lost, late, again, other)} == {
                lost: [2, 3],
                late: [1, 2],
                again: [1, 2, 3],
                other: [1, 2, 3],
            }
            for job in (again, other):
                shown = (await bench.get(f"/v1/jobs/{job}/timeline"))["data"]
                assert [row["seq"] for row in shown] == [1, 2, 3]

    asyncio.run(go())


def test_what_has_no_text_in_postgresql_stops_only_its_own_record(bench: Any, records: Any) -> None:
    """NUL in a column is poison for the one record; inside a chapter it is JSON, and harmless."""

    async def go() -> None:
        job = records.job_id()
        async with bench:
            refused = await bench.apply(
                *records.life(job, worker="w\x00", error={"code": "\x00", "message": "é\u2028"})
            )
            assert refused == []
            told = await bench.get(f"/v1/jobs/{job}/timeline")
            assert told["data"][1]["data"]["worker"] == "w\x00"
            assert told["data"][2]["data"]["error"] == {"code": "\x00", "message": "é\u2028"}
            with pytest.raises(asyncpg.CharacterNotInRepertoireError):
                await bench.apply(records.event(records.job_id(), 1, "queued", tool="t\x00"))
            assert len(await bench.rows("SELECT job_id FROM job_state")) == 1

    asyncio.run(go())


def test_timelines_of_the_version_before_are_shown_with_what_came_since(bench: Any, records: Any) -> None:
    """Both versions may run at once: an event that each of them wrote is one step."""

    async def go() -> None:
        job = records.job_id()
        life = records.life(job)
        async with bench:
            await bench.apply(*life)
            whole = await bench.get(f"/v1/jobs/{job}/timeline")
            await bench.pool.execute(TO_TIMELINE)
            assert (await bench.rows("SELECT count(*) FROM timeline"))[0] == (3,)
            await bench.pool.execute("TRUNCATE chapter")
            assert await bench.get(f"/v1/jobs/{job}/timeline") == whole
            await bench.apply(*life[1:])
            assert await bench.get(f"/v1/jobs/{job}/timeline") == whole
            assert (await bench.rows("SELECT count(*) FROM job_step"))[0] == (3,)

    asyncio.run(go())


def test_older_states_are_found_by_their_keys(bench: Any, records: Any) -> None:
    """Whatever the planner believes of a table without statistics, and however large the batch is."""

    async def go() -> None:
        jobs = sorted(records.job_id() for _ in range(1_500))
        async with bench:
            await bench.apply(*(records.event(job, 1, "queued") for job in jobs))
            async with bench.pool.acquire() as connection, connection.transaction():
                await connection.execute(job_events.BY_KEY)
                values = (jobs, [1] * len(jobs), [2] * len(jobs))
                plan = await connection.fetch(f"EXPLAIN {job_events.TAKE_OLDER}", *values)
        text = "\n".join(row[0] for row in plan)
        assert "job_state_pkey" in text
        assert "Seq Scan on job_state" not in text

    asyncio.run(go())


def test_a_step_back_keeps_what_was_told(bench: Any, records: Any) -> None:
    """The version before finds every step in its own table."""

    async def go() -> None:
        job = records.job_id()
        async with bench:
            await bench.apply(*records.life(job, error={"code": "x"}))
            await bench.apply(records.event(job, 2, "started", error={"code": "x"}))
            before = await bench.rows("SELECT * FROM job_step ORDER BY event_no")
        await asyncio.to_thread(migrate, bench.dsn, package="jobyard_monitor", schema="monitor", revision="0001")
        pool = await create_pool(bench.dsn, application_name="test")
        rows = await pool.fetch(
            "SELECT tenant, job_id, incarnation, event_no, at, type, state, reason, attempt, actor_kind, actor_id,"
            " worker, wait_ms, run_ms, error, output_seq FROM timeline ORDER BY event_no"
        )
        await pool.close()
        assert [tuple(row.values()) for row in rows] == before
        assert len(before) == 3

    asyncio.run(go())
