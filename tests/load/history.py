"""`make bench/history`: how lists, reads and the engine behave on a history of 10^4, 10^5, 10^6, 10^7 finished jobs.

For each size the history is made anew by COPY (tests/load/past.py) on a stack of its own. What is measured has settled:
statistics are made, dirty pages written, autovacuum is idle. Everything is measured in turns with the history attached
and detached, so that the machine's noise is seen beside the history's cost. ROWS=1000000 stops earlier.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from jobyard_executor.store.partitions import SPAN, ensure

from tests.load.past import Past, disk_needed, settle
from tests.load.rates import Rates
from tests.support.stack import OwnStack

JOBS = 5_000
ROUNDS = 3
TIMES = 12
Column = dict[str, str]


async def reads(bench: Rates, found: dict[str, list[float]]) -> None:
    """Add the milliseconds of the reads that people make all day, through the gateway."""
    week_ago = _days_ago(8)
    asked = {
        "list": "/v1/jobs?limit=50",
        "list, failed": "/v1/jobs?state=failed&limit=50",
        "list, failed, a week ago": f"/v1/jobs?state=failed&limit=50&created_before={week_ago}",
        "list, failed, count=exact": "/v1/jobs?state=failed&limit=50&count=exact",
        "list, tag (1 %)": "/v1/jobs?tag=nightly&limit=50",
        "list, no such tag": "/v1/jobs?tag=unknown&limit=50",
        "list, tag and succeeded": "/v1/jobs?tag=nightly&state=succeeded&limit=50",
        "list, tool": "/v1/jobs?tool=test.noop&limit=50",
        "list, queue and failed": "/v1/jobs?queue=default&state=failed&limit=50",
        "list, running": "/v1/jobs?state=running&limit=50",
        "list, a week ago": f"/v1/jobs?limit=50&created_before={week_ago}",
        "counts by state": "/v1/jobs/counts",
        "dead letters": "/v1/dead-letters?limit=50",
    }
    async with bench.connection() as connection:
        page = await connection.get(f"/v1/jobs?limit=50&created_before={week_ago}")
        page = page if page["data"] else await connection.get("/v1/jobs?limit=50")
        job_id = page["data"][-1]["id"]
        asked["list, deep cursor"] = f"/v1/jobs?limit=50&cursor={page['next_cursor']}"
        asked |= {"get": f"/v1/jobs/{job_id}", "lifecycle": f"/v1/jobs/{job_id}/events"}
        for name, path in asked.items():
            for _ in range(TIMES):
                began = time.perf_counter()
                await connection.get(path)
                found.setdefault(name, []).append((time.perf_counter() - began) * 1000)


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def measured(bench: Rates, past: Past) -> Column:
    """Reads, jobs a second and CPU a job without and with the history, in turns."""
    asked: dict[bool, dict[str, list[float]]] = {False: {}, True: {}}
    ran: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for there in (False, True):
            await (past.attach() if there else past.detach())
            await reads(bench, asked[there])
            rate = await bench.end_to_end(jobs=JOBS)
            ran[there].append((rate.per_s, rate.total_us))
    column = {
        f"{name}, ms": f"{statistics.median(times):.1f} ({statistics.median(asked[False][name]):.1f})"
        for name, times in asked[True].items()
    }
    per_s = {there: sorted(rate for rate, _ in rows) for there, rows in ran.items()}
    cpu = {there: statistics.median(us for _, us in rows) for there, rows in ran.items()}
    middle = {there: statistics.median(rows) for there, rows in per_s.items()}
    column["jobs/s"] = f"{middle[True]:,.0f} ({middle[False]:,.0f})"
    column["jobs/s, least to most"] = (
        " (".join(f"{per_s[t][0]:,.0f} to {per_s[t][-1]:,.0f}" for t in (True, False)) + ")"
    )
    column["ratio of the rates"] = f"{middle[True] / middle[False]:.2f}"
    column["µs of CPU a job"] = f"{cpu[True]:,.0f} ({cpu[False]:,.0f})"
    return column


async def curve(stack: OwnStack, sizes: list[int]) -> dict[str, Column]:
    bench = Rates(stack)
    dsn = stack.facts["postgres"]["dsn"]
    database, superuser = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    table: dict[str, Column] = {}
    try:
        await database.execute("SET search_path = executor; SET ROLE jobyard_executor")
        now = datetime.now(UTC)
        await ensure(database, now=now + SPAN, ahead=2, cell="00")
        past = Past(dsn, database, now=now)
        await past.clear()
        await bench.end_to_end(jobs=JOBS)
        for size in sizes:
            began = time.monotonic()
            await past.make(size)
            made = time.monotonic() - began
            await settle(superuser)
            used = await database.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
            column = {
                "disk": used,
                "made in": f"{made:.0f} s",
                "settled in": f"{time.monotonic() - began - made:.0f} s",
            }
            column |= await measured(bench, past)
            table[f"{size:,}"] = column
            show({f"{size:,}": column})
    finally:
        await superuser.close()
        await database.close()
    return table


def show(table: dict[str, Column]) -> None:
    """As Markdown: a line a measure, a column a size; in brackets without the history."""
    names = list(dict.fromkeys(name for column in table.values() for name in column))
    print(f"\n| finished jobs (without them) | {' | '.join(table)} |\n|---|{'---|' * len(table)}")
    for name in names:
        print(f"| {name} | {' | '.join(column.get(name, '–') for column in table.values())} |")
    sys.stdout.flush()


def has_room(base: Path, rows: int) -> bool:
    """Say what it takes, and whether that is there."""
    needed, free = disk_needed(rows), shutil.disk_usage(base).free
    print(f"{rows:,} jobs need about {needed / 2**30:.0f} GB in {base}; {free / 2**30:.0f} GB are free.", flush=True)
    if needed > free:
        print("Too little: choose a smaller ROWS, or another disk by TMPDIR.", file=sys.stderr)
    return needed <= free


def main() -> int:
    most = int(os.environ.get("ROWS", "10000000"))
    base = Path(tempfile.mkdtemp(prefix="jobyard-history-"))
    print(f"{__doc__}\nload average before: {os.getloadavg()[0]:.1f}")
    stack = OwnStack(base)
    try:
        if not has_room(base, most):
            return 1
        stack.start()
        table = asyncio.run(curve(stack, [size for size in (10**4, 10**5, 10**6, 10**7) if size <= most]))
        print(f"\nAll together; load average after: {os.getloadavg()[0]:.1f}")
        show(table)
    except KeyboardInterrupt:
        return 130
    finally:
        stack.stop()
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
