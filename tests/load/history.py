"""`make bench/history`: how lists, reads and the engine behave on a history of 10^4, 10^5, 10^6, 10^7 finished jobs.

The history is made by COPY into the executor's tables of a stack of its own, spread over four weeks of partitions,
as the engine itself would have left it: a job, its list row, its end, an attempt, a result, three lifecycle rows.
ROWS=1000000 stops earlier. Needs about 4 KB of disk a job.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import JobSpec
from jobyard_executor.store.partitions import SPAN, ensure

from tests.load.latency import percentiles
from tests.load.rates import Rates
from tests.support.stack import OwnStack

LOT = 50_000
SPREAD = timedelta(days=28)
SPEC = msgspec.json.encode(JobSpec("test.noop", "1", "async", "L0", 60.0)).decode()
ACTOR = '{"kind":"key","id":"key_history"}'
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
JOB = "job_id tenant state event_no born_ms attempt fence created_at queued_at started_at finished_at correlation_id"
COPIES: dict[str, tuple[str, Callable[[str, str, int, int], str]]] = {
    "job": (
        f"{JOB} traceparent actor spec",
        lambda i, at, ms, n: (
            f"{i}\ttnt_default\t{_state(n)}\t3\t{ms}\t1\t{n}\t{at}\t{at}\t{at}\t{at}\tc{n}\t{TRACE}\t{ACTOR}\t{SPEC}"
        ),
    ),
    "job_list": (
        "job_id tenant created_at tool queue correlation_id labels",
        lambda i, at, ms, n: f"{i}\ttnt_default\t{at}\ttest.noop\tdefault\tc{n}\t{_labels(n)}",
    ),
    "job_done": (
        "job_id tenant state created_at finished_at",
        lambda i, at, ms, n: f"{i}\ttnt_default\t{_state(n)}\t{at}\t{at}",
    ),
    "attempt": (
        "job_id attempt fence worker verdict started_at finished_at run_ms",
        lambda i, at, ms, n: f"{i}\t1\t{n}\texecutor-history\tsucceeded\t{at}\t{at}\t4",
    ),
    "result": (
        "job_id attempt value stdout stderr truncated files run_ms",
        lambda i, at, ms, n: f"{i}\t1\tnull\t\t\tf\t[]\t4",
    ),
    "lifecycle": (
        "job_id event_no at type state attempt actor",
        lambda i, at, ms, n: "\n".join(
            f"{i}\t{event}\t{at}\t{verb}\t{state}\t{1 if event > 1 else 0}\t{ACTOR}"
            for event, verb, state in ((1, "queued", "queued"), (2, "started", "running"), (3, _state(n), _state(n)))
        ),
    ),
}


def _state(n: int) -> str:
    return "failed" if n % 50 == 0 else "succeeded"


def _labels(n: int) -> str:
    return "{t:nightly}" if n % 100 == 0 else "\\N"


async def fill(database: asyncpg.Connection[Any], *, first: int, last: int, of: int) -> None:
    """Add the jobs number `first` to `last` of a history that has `of` in the end."""
    now = datetime.now(UTC)
    for low in range(first, last, LOT):
        rows = [_when(n, of=of, now=now) for n in range(low, min(low + LOT, last))]
        for table, (columns, line) in COPIES.items():
            text = "\n".join(line(*row) for row in rows) + "\n"
            await database.copy_to_table(
                table, schema_name="executor", columns=columns.split(), source=io.BytesIO(text.encode())
            )


def _when(n: int, *, of: int, now: datetime) -> tuple[str, str, int, int]:
    # Every size of history covers all four weeks, so that each partition grows with it.
    moment = now - SPREAD + (SPREAD - timedelta(hours=1)) * ((n * 7919) % of / of)
    stamp = int(moment.timestamp() * 1000)
    return new_id("job", now_ms=stamp), moment.isoformat(), stamp, n


async def reads(bench: Rates) -> dict[str, float]:
    """Median milliseconds of the reads that people make all day."""
    asked = {
        "list": "/v1/jobs?limit=50",
        "list failed": "/v1/jobs?state=failed&limit=50",
        "list by tag": "/v1/jobs?tag=nightly&limit=50",
        "list of a week ago": f"/v1/jobs?limit=50&created_before={_days_ago(7)}",
    }
    found: dict[str, float] = {}
    async with bench.connection() as connection:
        job_id = (await connection.get("/v1/jobs?state=failed&limit=50"))["data"][-1]["id"]
        asked |= {"get": f"/v1/jobs/{job_id}", "lifecycle": f"/v1/jobs/{job_id}/events"}
        for name, path in asked.items():
            times = []
            for _ in range(30):
                began = time.perf_counter()
                await connection.get(path)
                times.append((time.perf_counter() - began) * 1000)
            found[name] = percentiles(times)[0]
    return found


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def curve(stack: OwnStack, sizes: list[int]) -> None:
    bench = Rates(stack)
    database = await asyncpg.connect(stack.facts["postgres"]["dsn"])
    try:
        await database.execute("SET search_path = executor; SET ROLE jobyard_executor")
        # Four weeks back; `ensure` makes the week before its moment, too.
        await ensure(database, now=datetime.now(UTC) - SPREAD, ahead=int(SPREAD / SPAN), cell="00")
        await bench.end_to_end(jobs=5_000)
        filled = 0
        for size in [0, *sizes]:
            began = time.monotonic()
            if size:
                await fill(database, first=filled, last=size, of=sizes[-1])
                await database.execute("ANALYZE")
            filled, took = size, time.monotonic() - began
            rate = await bench.end_to_end(jobs=5_000)
            used = await database.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
            shown = "-"
            if size:
                shown = ", ".join(f"{name} {value:.1f}" for name, value in (await reads(bench)).items())
            print(f"{size:>10,} finished jobs, {used}, made in {took:.0f} s", flush=True)
            print(f"    {rate.per_s:.0f} jobs/s, {rate.total_us:.0f} µs a job; ms: {shown}", flush=True)
    finally:
        await database.close()


def main() -> int:
    most = int(os.environ.get("ROWS", "10000000"))
    base = Path(tempfile.mkdtemp(prefix="jobyard-history-"))
    stack = OwnStack(base)
    print(f"{__doc__}\nload average before: {os.getloadavg()[0]:.1f}")
    try:
        stack.start()
        asyncio.run(curve(stack, [size for size in (10**4, 10**5, 10**6, 10**7) if size <= most]))
    except KeyboardInterrupt:
        return 130
    finally:
        stack.stop()
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
