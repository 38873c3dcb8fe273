"""Every hot query takes an index, on tables whose statistics nobody has gathered yet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jobyard_common.contracts.jobs import Cache, Dedupe, DedupeMode
from jobyard_executor.store import (
    cache,
    commands,
    dedupe,
    edges,
    intake,
    jobs,
    partitions,
    reading,
    retention,
    sessions,
    timers,
    tool_versions,
)
from jobyard_executor.testing.runner import ScriptedRunner

Play = Callable[[Any], None]
HISTORY = 10_000
LARGE = ("job_w", "job_list_w", "job_done_w", "lifecycle_w", "job_keyed", "job_done_keyed",
         "ready", "timer", "dedupe", "edge", "result_cache", "command_seen", "blocked", "keyed_id")  # fmt: skip
STATEMENT = "EXPLAIN {}"


async def fill(bench: Any) -> list[str]:
    """A yard with a past: waiting, timed, deduplicated and dependent jobs, none of it analysed."""
    submits = [
        bench.submit(
            deadline_at=bench.clock.now() + timedelta(days=1),
            dedupe=Dedupe(f"k{n}", DedupeMode.TTL, 3600.0) if n % 4 == 0 else None,
        )
        for n in range(HISTORY)
    ]
    for start in range(0, HISTORY, 1000):
        await bench.apply(*submits[start : start + 1000])
    ids = [submit.job_id for submit in submits]
    await bench.pool.execute(
        "INSERT INTO result_cache SELECT 't', 'k' || n, 'job_' || n, now() + n * interval '1 s' "
        "FROM generate_series(1, $1) n", HISTORY,
    )  # fmt: skip
    await bench.pool.execute(
        "INSERT INTO command_seen SELECT 'cmd_' || n, 't', 'applied', 'job_1', now() - n * interval '1 s' "
        "FROM generate_series(1, $1) n", HISTORY,
    )  # fmt: skip
    await bench.pool.execute("INSERT INTO edge SELECT job_id, 'x' || job_id, false FROM job")
    await bench.pool.execute("INSERT INTO blocked SELECT 'b' || job_id, tenant, created_at FROM job")
    # Their keys are not unique: without statistics many rows a key are guessed, and reading all is cheaper than that.
    # Autovacuum has them within a minute of the first thousand rows.
    await bench.pool.execute("ANALYZE edge, dedupe")
    return ids


async def plan(bench: Any, sql: str, *parameters: Any) -> str:
    async with bench.pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(STATEMENT.format(sql), *parameters)
    return "\n".join(row[0] for row in rows)


def test_hot_queries_read_no_whole_table(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(lambda _assignment: None))
        first = bench.submit(cache=Cache("a" * 64, 60.0))
        await bench.apply(first)
        await bench.until(first.job_id, "running")
        for work in bench._works:
            await work.drain()
        ids = await fill(bench)
        some, now = ids[::100], bench.clock.now()
        few = some[:4]
        tenants, keys = ["tnt_test"] * 50, [f"k{n}" for n in range(50)]
        lane = await bench.pool.fetchval("SELECT lane FROM ready LIMIT 1")
        low = partitions.first_id(now - timedelta(days=30), cell="00")
        statements: dict[str, tuple[Any, ...]] = {
            "lock held": (jobs.LOCK_HELD, some),
            "lock free": (jobs.LOCK_FREE, some),
            "share": (jobs.SHARE, some),
            "exist": (jobs.EXIST, some, "tnt_test"),
            "get many": (jobs.GET_MANY, some),
            "tombstones": (intake.TOMBSTONES, some),
            "body hashes": (intake.BODY_HASHES, some),
            "existing": (dedupe.EXISTING, some),
            "owners": (dedupe.OWNERS, tenants, keys),
            "debounced": (dedupe.DEBOUNCED, tenants, keys),
            "release": (dedupe.RELEASE, some[:5]),
            "cache hits": (cache.HITS, tenants, keys, now),
            "seen": (commands.SEEN, [f"cmd_{n}" for n in range(10)]),
            "due": (timers.DUE, now, 1000),
            "next timer": (timers.NEXT,),
            "close edges": (edges.CLOSE, some[:20]),
            "parents": (edges.PARENTS, some[:20]),
            "old blocked": (edges.OLD_BLOCKED, now, now - timedelta(days=1), "", 500),
            "result": (reading.RESULT, ids[0]),
            "lifecycle": (reading.LIFECYCLE, ids[0], 0, 100),
            "attempts": (reading.ATTEMPTS, ids[0]),
            "ready of a job": (reading.READY, ids[0]),
            "leases of a session": (sessions.LEASES_OF, "ses_1", 500),
            "lanes": (tool_versions.LANES, 1000),
            "waiting in a lane": (tool_versions.WAITING, lane, 500),
            "next to forget": (retention.NEXT, low, ids[-1], 1000),
            "forget a list row": (retention.LISTED, few, ["tnt_test"] * 4, [now] * 4),
            "forget an end": (retention.DONE, few, ["tnt_test"] * 4, [now] * 4, ["succeeded"] * 4),
            **{f"forget {n}": (sql, few) for n, sql in enumerate(retention.BY_ID)},
        }
        bad = []
        for name, (sql, *parameters) in statements.items():
            found = await plan(bench, sql, *parameters)
            scanned = [table for table in LARGE if f"Seq Scan on {table}" in found]
            if scanned:
                bad.append(f"{name} reads all of {scanned}:\n{found[:1500]}")
        assert not bad, "\n\n".join(bad)

    play(scenario)
