"""Tool versions that nobody offers any more, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_executor.handlers.explain import explain
from jobyard_executor.handlers.retire_tools import RetireTools
from jobyard_executor.testing.runner import ScriptedRunner

Play = Callable[[Any], None]
AFTER = timedelta(hours=2)
AGE = "UPDATE tool_version SET seen_at = now() - interval '3 hours' WHERE name = $1"


async def swept(bench: Any) -> RetireTools:
    """A sweep that has been at work long enough to judge."""
    retire = RetireTools(bench.engine, bench.pool, after=AFTER)
    await retire()
    bench.clock.ahead += timedelta(hours=1, minutes=1)
    return retire


async def retired(bench: Any) -> list[str]:
    rows = await bench.pool.fetch("SELECT name FROM tool_version WHERE retired ORDER BY name")
    return [row[0] for row in rows]


def test_what_nobody_offers_is_retired_and_its_waiting_jobs_are_rejected(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.know("test.gone")
        waiting = bench.submit(tool="test.gone")
        child = bench.submit(depends_on=(waiting.job_id,))
        later = bench.submit(tool="test.gone", run_at=bench.clock.now() + timedelta(days=1))
        fine = bench.submit()
        await bench.apply(waiting, child, later, fine)
        retire = await swept(bench)
        assert (await retire(), await retired(bench)) == (0, [])
        await bench.pool.execute(AGE, "test.gone")
        assert (await retire(), await retired(bench)) == (1, ["test.gone"])
        job = await bench.job(waiting.job_id)
        assert (job.state, job.reason, job.dead, job.attempt) == ("failed", "rejected", False, 0)
        assert msgspec.json.decode(job.error)["code"] == "tool_retired"
        assert (await bench.job(child.job_id)).reason == "dependency_failed"
        assert (await bench.job(later.job_id)).state == "scheduled"
        assert (await bench.job(fine.job_id)).state == "queued"
        farewell = await bench.pool.fetchrow("SELECT key, value FROM outbox WHERE topic = 'tools'")
        assert (farewell["key"], farewell["value"]) == (b"test.gone@1", None)
        refused = bench.submit(tool="test.gone")
        await bench.apply(refused)
        assert (await bench.job(refused.job_id)).reason == "rejected"
        assert await retire() == 0

    play(scenario)


def test_what_a_live_worker_offers_stays_and_is_noted(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        retire = await swept(bench)
        work = await bench.work(ScriptedRunner(lambda _assignment: None))
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        assert work.session is not None
        await bench.pool.execute(AGE, "test.noop")
        await retire()
        assert await retired(bench) == []
        age = await bench.pool.fetchval("SELECT now() - seen_at FROM tool_version WHERE name = 'test.noop'")
        assert age < timedelta(minutes=5)

    play(scenario)


def test_after_a_standstill_executors_have_time_to_come_back(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.pool.execute("UPDATE tool_version SET seen_at = now() - interval '9 days'")
        retire = RetireTools(bench.engine, bench.pool, after=AFTER)
        await retire()
        assert await retired(bench) == []

    play(scenario)


def test_a_waiting_job_says_since_when_nobody_knows_its_tool(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.know("test.gone")
        await bench.work(ScriptedRunner(lambda _assignment: None))
        running, waiting = bench.submit(), bench.submit(tool="test.gone")
        await bench.apply(running, waiting)
        await bench.until(running.job_id, "running")
        told = await explain(bench.pool, await bench.job(waiting.job_id), now=bench.clock.now())
        (reason,) = [row for row in told["waiting_for"] if row["kind"] == "worker"]
        assert "test.gone in version 1" in reason["detail"]
        assert "since" in reason["detail"]

    play(scenario)
