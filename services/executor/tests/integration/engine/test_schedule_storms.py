"""Schedules in numbers, under kills, and what they cost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobyard_common.db.pool import create_pool
from jobyard_common.telemetry.tracing import Tracer
from jobyard_executor.handlers import fire_schedules as firing
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_schedules import fire_schedules
from jobyard_executor.handlers.fire_timers import fire_timers
from jobyard_executor.store import jobs
from jobyard_executor.store import schedules as store

from .schedule_calls import Play, fires, make, tick


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
