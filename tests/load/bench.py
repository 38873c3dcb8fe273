"""`make bench`: one run, every figure beside its target. Compare figures of one run only: machines differ and drift.

Durability while measuring: Kafka `acks=all` on one broker (survives kill -9 of any process, not power loss before
the page cache is flushed), PostgreSQL with fsync and synchronous_commit on.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.load.measures import Measure, Rate, percentiles
from tests.support.processes import pss_mb
from tests.support.stack import OwnStack

SERVICES = ("gateway", "executor", "files", "monitor")
Row = tuple[str, str, str]


def cpu_line(rate: Rate) -> str:
    parts = sorted(rate.cpu_us.items(), key=lambda item: -item[1])
    return f"{rate.total_us:.0f} µs a job: " + ", ".join(f"{name} {value:.0f}" for name, value in parts)


def latency_line(values: list[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in percentiles(values))


async def measure(stack: OwnStack, scale: float) -> list[Row]:
    bench = Measure(stack)
    jobs = int(10_000 * scale)
    rows: list[Row] = []

    def row(what: str, figure: str, target: str) -> None:
        rows.append((what, figure, target))
        print(f"{what:58} {figure:>30}   {target}", flush=True)

    cold = await bench.end_to_end(jobs=jobs, bulk=True)
    row(f"{jobs} no-op jobs by batches, cold, jobs/s", f"{cold.per_s:.0f}", "(shown beside the warm figure)")
    await bench.end_to_end(jobs=jobs, bulk=True)
    one = await bench.submit_rate(connections=1, jobs=int(2_000 * scale))
    row("single submits, 1 connection, jobs/s", f"{one.per_s:.0f}", "-")
    many = await bench.submit_rate(connections=32, jobs=jobs)
    row("single submits, 32 connections, jobs/s", f"{many.per_s:.0f}", "4,000 (moonshot 8,000)")
    bulk_in = await bench.bulk_submit_rate(jobs=jobs)
    row("submits in batches of 1,000, jobs/s", f"{bulk_in.per_s:.0f}", "20,000 (moonshot 50,000)")
    bulk = await bench.end_to_end(jobs=jobs, bulk=True)
    row(f"{jobs} no-op jobs by batches, jobs/s", f"{bulk.per_s:.0f}", "4,000 (moonshot 8,000); at first 1,000")
    row("  CPU", cpu_line(bulk), "390 µs (moonshot 200)")
    single = await bench.end_to_end(jobs=jobs, bulk=False)
    row(f"{jobs} no-op jobs by single submits, 32 at once, jobs/s", f"{single.per_s:.0f}", "2,000 (moonshot 4,000)")
    row("  CPU", cpu_line(single), "840 µs (moonshot 400)")
    latency = await bench.latency(per_s=20, seconds=20 * scale)
    row("submit → 202 at 20/s, ms p50/p95/p99", latency_line(latency["accepted"]), "-")
    row("submit → start at 20/s, ms p50/p95/p99", latency_line(latency["started"]), "10 / – / 30")
    row("submit → result visible at 20/s, ms p50/p95/p99", latency_line(latency["visible"]), "12 / – / 30")
    return rows


def main() -> int:
    scale = float(os.environ.get("SCALE", "1"))
    base = Path(tempfile.mkdtemp(prefix="jobyard-bench-"))
    stack = OwnStack(base)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(__doc__)
    try:
        first = stack.start()
        stack.stop()
        warm = stack.start()
        print(f"{'start of the stack, first / warm, s':58} {f'{first:.1f} / {warm:.1f}':>30}   12 warm (moonshot 5)")
        time.sleep(5)
        memory = {name: pss_mb(stack.pids()[name]) for name in SERVICES}
        idle = "500 (moonshot 300): " + ", ".join(f"{name} {value:.0f}" for name, value in memory.items())
        print(f"{'memory of the four services, idle, MB PSS':58} {sum(memory.values()):>30.0f}   {idle}")
        asyncio.run(measure(stack, scale))
    except KeyboardInterrupt:
        return 130
    finally:
        stack.stop()
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
