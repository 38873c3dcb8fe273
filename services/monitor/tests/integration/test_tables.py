"""Migrations, partitions, retention, plans."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from jobyard_common.db.migrate import at_head, migrate
from jobyard_common.db.pool import create_pool
from jobyard_monitor.handlers.keep_tables import keep_tables
from jobyard_monitor.store import audit, chapters, job_events, job_output, service_logs
from jobyard_monitor.store.partitions import KEYS

FIRST = 10**9


def test_migrations_go_up_down_and_up_again(database: Any) -> None:
    dsn = database.empty("monitor")
    for revision in ("head", "base", "head"):
        migrate(dsn, package="jobyard_monitor", schema="monitor", revision=revision)
    assert asyncio.run(at_head(dsn, package="jobyard_monitor", schema="monitor"))


def test_partitions_are_made_ahead_and_once(bench: Any) -> None:
    async def go() -> None:
        async with bench:
            again = await keep_tables(bench.pool, retention=bench.retention, now=bench.clock.now())
            assert (again.created, again.dropped) == ((), ())
            tomorrow = await keep_tables(
                bench.pool, retention=bench.retention, now=bench.clock.now() + timedelta(days=1)
            )
            assert len(tomorrow.created) == len(KEYS)

    asyncio.run(go())


def test_two_keepers_at_once_do_not_fail(database: Any, bench: Any) -> None:
    async def go() -> None:
        async with bench:
            later = bench.clock.now() + timedelta(days=30)
            pools = [await create_pool(bench.dsn, application_name="keeper") for _ in range(3)]
            await asyncio.gather(*(keep_tables(pool, retention=bench.retention, now=later) for pool in pools))
            await asyncio.gather(*(pool.close() for pool in pools))
            final = await keep_tables(bench.pool, retention=bench.retention, now=later)
            assert (final.created, final.dropped) == ((), ())

    asyncio.run(go())


def test_rows_that_came_before_their_partition_move_into_it(bench: Any, records: Any) -> None:
    async def go() -> None:
        job, later = records.job_id(), timedelta(days=5)
        line = records.line(FIRST + 1, "early")
        async with bench:
            pack = records.pack(job, line)
            day = f"{line.at + later:%Y-%m-%d}"
            pack.value = pack.value.replace(f"{line.at:%Y-%m-%d}".encode(), day.encode())
            await bench.apply(pack)
            assert await bench.rows("SELECT count(*) FROM job_log_default") == [(1,)]
            await keep_tables(bench.pool, retention=bench.retention, now=bench.clock.now() + later)
            assert await bench.rows("SELECT count(*) FROM job_log_default") == [(0,)]
            assert [row["message"] for row in (await bench.get(f"/v1/jobs/{job}/logs"))["data"]] == ["early"]

    asyncio.run(go())


def test_what_is_older_than_is_kept_goes(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        async with bench:
            await bench.apply(
                *records.life(job),
                records.event(records.job_id(), 1, "queued"),
                records.pack(job, records.line(FIRST + 1), records.line(FIRST + 2, stream="progress", fields={})),
                records.file("file_1", 1, "created", seconds=0),
                records.logs(records.log(0)),
                records.beat("ghost", at=records.start),
                records.audit("aud_1", 0),
            )
            short = replace(bench.retention, timeline=timedelta(days=2), audit=timedelta(days=2))
            kept = await keep_tables(bench.pool, retention=short, now=bench.clock.now() + timedelta(days=20))
            assert len(kept.dropped) > 10
            logs = ("job_log", "service_log", "job_progress", "service", "audit")
            for table in ("timeline", "chapter", "file_timeline", *logs):
                assert await bench.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
            # an unfinished job is kept for as long as it is unfinished
            assert await bench.rows("SELECT state FROM job_state") == [("queued",)]

    asyncio.run(go())


TENANTS = ["tnt_default"]
NOW = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("query", "values"),
    [
        pytest.param(chapters.STEPS, ("tnt_default", "{job}", 100), id="timeline"),
        pytest.param(chapters.CHAPTERS, ("tnt_default", "{job}", 100), id="chapters"),
        pytest.param(job_events.LIVE_COUNTS, ("tnt_default",), id="live counts"),
        pytest.param(job_events.FINISHED_COUNTS, ("tnt_default", "{future}"), id="finished counts"),
        pytest.param(job_output.LINES, ("tnt_default", "{job}", 0, None, None, 201), id="job log"),
        pytest.param(
            service_logs.SEARCH,
            (TENANTS, "{past}", "{future}", 0, None, None, None, None, None, None, None, None, 101),
            id="newest logs",
        ),
        pytest.param(
            service_logs.SEARCH,
            (TENANTS, "{past}", "{future}", 0, None, "corr-7", None, None, None, None, None, None, 101),
            id="logs of a correlation id",
        ),
        pytest.param(service_logs.ERRORS, (TENANTS, "{past}", "{future}", None, 100, 10), id="errors"),
        pytest.param(audit.LIST, (TENANTS, *[None] * 8, 51), id="audit"),
    ],
)
def test_hot_queries_use_an_index(bench: Any, records: Any, query: str, values: tuple[Any, ...]) -> None:
    """On a fresh table with 10,000 rows and no statistics, where bad plans begin."""

    async def go() -> list[str]:
        moments = {"{past}": records.at(-86_400), "{future}": records.at(86_400)}
        async with bench:
            jobs = [records.job_id() for _ in range(2_500)]
            batch = [event for job in jobs for event in records.life(job)]
            await bench.apply(*batch)
            await bench.apply(*(records.pack(job, *(records.line(FIRST + n) for n in range(4))) for job in jobs))
            rows = [records.log(-(n % 3600), correlation_id=f"corr-{n}", level="info") for n in range(10_000)]
            await bench.apply(*(records.logs(*rows[start : start + 500]) for start in range(0, 10_000, 500)))
            await bench.apply(*(records.audit(f"aud_{n:05}", -n) for n in range(10_000)))
            given = [stand_in(value, {**moments, "{job}": jobs[7]}) for value in values]
            plan = await bench.rows(f"EXPLAIN {query}", *given)
        return [row[0] for row in plan]

    full = re.compile(rf"Seq Scan on (job_state|audit|\w+_{records.start:%Y%m%d})\b")
    assert [line for line in asyncio.run(go()) if full.search(line)] == []


def stand_in(value: Any, known: dict[str, Any]) -> Any:
    return known.get(value, value) if isinstance(value, str) else value
