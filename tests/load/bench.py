"""`make bench`: one run, every figure beside its target. Compare figures of one run only: machines differ and drift.

Durability while measuring: Kafka `acks=all` on one broker (survives kill -9 of any process, not power loss before
the page cache is flushed), PostgreSQL with fsync and synchronous_commit on. Targets of one 2-core machine.

SCALE=0.3 makes it shorter; ONLY=rates,latency,… runs some of its chapters.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.load.latency import latency, percentiles, waited
from tests.load.neighbours import second_tenant
from tests.load.overheads import fork_and_exec, one_by_one
from tests.load.rates import Rate, Rates
from tests.load.recovery import kill_executor
from tests.support.collector import Collector
from tests.support.executors import MoreExecutors
from tests.support.processes import pss_mb
from tests.support.stack import OwnStack

SERVICES = ("gateway", "executor", "files", "monitor")
SETTLE_S = 10.0
Chapter = Callable[[Rates, float], Awaitable[None]]


def row(what: str, figure: str, target: str = "-") -> None:
    print(f"{what:62} {figure:>22}   {target}", flush=True)


def cpu(rate: Rate, target: str = "") -> None:
    """The CPU of a job, by process, the largest first."""
    parts = sorted(rate.cpu_us.items(), key=lambda item: -item[1])
    print(f"    {rate.total_us:.0f} µs a job {target}: " + ", ".join(f"{name} {value:.0f}" for name, value in parts))


def three(values: list[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in percentiles(values))


async def rates(bench: Rates, scale: float) -> None:
    jobs = int(10_000 * scale)
    cold = await bench.end_to_end(jobs=jobs)
    row(f"{jobs} no-op jobs by batches, cold, jobs/s", f"{cold.per_s:.0f}", "(shown beside the warm figure)")
    await bench.end_to_end(jobs=jobs)
    await bench.end_to_end(jobs=jobs, connections=32)
    one = await bench.submit_rate(connections=1, jobs=int(2_000 * scale))
    row("single submits, 1 connection, jobs/s", f"{one.per_s:.0f}")
    many = await bench.submit_rate(connections=32, jobs=jobs)
    row("single submits, 32 connections, jobs/s", f"{many.per_s:.0f}", "4,000 (moonshot 8,000)")
    cpu(many)
    bulk_in = await bench.bulk_submit_rate(jobs=jobs)
    row("submits in batches of 1,000, jobs/s", f"{bulk_in.per_s:.0f}", "20,000 (moonshot 50,000)")
    bulk = await bench.end_to_end(jobs=jobs)
    row(f"{jobs} no-op jobs by batches, jobs/s", f"{bulk.per_s:.0f}", "4,000 (moonshot 8,000)")
    cpu(bulk, "(390, moonshot 200)")
    single = await bench.end_to_end(jobs=jobs, connections=32)
    row(f"{jobs} no-op jobs by single submits, 32 at once, jobs/s", f"{single.per_s:.0f}", "2,000 (moonshot 4,000)")
    cpu(single, "(840, moonshot 400)")


async def delays(bench: Rates, scale: float) -> None:
    found = await latency(bench, per_s=20, seconds=20 * scale)
    row("submit → 202 at 20/s, ms p50/p95/p99", three(found["accepted"]))
    row("submit → start at 20/s, ms p50/p95/p99", three(found["started"]), "10 / – / 30 (moonshot 3 / – / 8)")
    row("submit → result visible at 20/s, ms p50/p95/p99", three(found["visible"]), "12 / – / 30 (moonshot 5 / – / 12)")
    told = await waited(bench, per_s=20, seconds=10 * scale)
    row("submit that waits for its end at 20/s, ms p50/p95/p99", three(told))
    for per_s in (500, 1000):
        loaded = await waited(bench, per_s=per_s, seconds=10 * scale)
        row(f"the same at {per_s}/s, ms p50/p95/p99", three(loaded), "– / – / 100 (moonshot 40)")


async def variants(bench: Rates, scale: float) -> None:
    """The same flow with more asked of it, by batches; each beside the plain one of the same chapter."""
    jobs = int(5_000 * scale)
    plain = await bench.end_to_end(jobs=jobs)

    def beside(what: str, rate: Rate) -> None:
        row(what, f"{rate.per_s:.0f}", f"{rate.per_s / plain.per_s:.2f} of plain, {rate.total_us:.0f} µs a job")

    beside(f"{jobs} plain jobs, jobs/s", plain)
    beside("  with priorities 1 to 10", await bench.end_to_end(jobs=jobs, priority=lambda n: n % 10 + 1))
    beside("  over 100 fairness keys", await bench.end_to_end(jobs=jobs, fairness_key=lambda n: f"f{n % 100}"))
    beside("  over 1,000 concurrency keys", await bench.end_to_end(jobs=jobs, concurrency_key=lambda n: f"k{n % 1000}"))
    for ms, share in ((1, 1.0), (10, 0.5), (100, 0.1)):
        asked = {"tool": "test.sleep", "parameters": {"seconds": ms / 1000}}
        beside(f"  of {ms} ms", await bench.end_to_end(jobs=int(jobs * share), **asked))
    big = {"tool": "test.echo", "parameters": {"value": "x" * 160_000}}
    beside("  160 KB of payload and result, single", await bench.end_to_end(jobs=jobs // 20, connections=8, **big))


async def isolation(bench: Rates, scale: float) -> None:
    jobs = max(20, int(100 * scale))
    bare = await one_by_one(bench, "test.noop", jobs=jobs)
    child = await one_by_one(bench, "test.noop.process", jobs=jobs)
    command = await one_by_one(bench, "test.noop.command", jobs=jobs)
    exec_ms = fork_and_exec(50)
    row("`process` job over an async one, ms", f"{child - bare:.1f}", "3 (moonshot 1)")
    row("`command` job over an async one and bare fork+exec, ms", f"{command - bare - exec_ms:.1f}", "15 (moonshot 5)")


async def executors(bench: Rates, scale: float) -> None:
    jobs = int(10_000 * scale)
    more = MoreExecutors(bench.stack)
    try:
        for count in (1, 2, 3):
            if count > 1:
                more.start(f"executor-more-{count}")
                await asyncio.sleep(6)
            rate = await bench.end_to_end(jobs=jobs)
            row(f"{jobs} no-op jobs by batches, {count} executor(s), jobs/s", f"{rate.per_s:.0f}")
    finally:
        more.stop()


async def faults(bench: Rates, _scale: float) -> None:
    lost, seconds = await kill_executor(bench)
    row("300 jobs in flight, kill -9 of the executor: lost / s", f"{lost} / {seconds:.1f}", "0 / 35 (moonshot 0 / 7)")


async def neighbours(bench: Rates, scale: float) -> None:
    waits = await second_tenant(bench, flood=int(100_000 * scale))
    ratio = waits.behind_ms / max(waits.idle_ms, 1.0)
    figure = f"{waits.idle_ms:.0f} → {waits.behind_ms:.0f} ms, {ratio:.1f}×"
    row(f"second tenant's wait behind {waits.backlog} jobs that still wait", figure, "2× (moonshot 1.2×)")


CHAPTERS: dict[str, Chapter] = {
    "rates": rates,
    "latency": delays,
    "variants": variants,
    "isolation": isolation,
    "executors": executors,
    "faults": faults,
    "neighbours": neighbours,
}


def traced(base: Path, scale: float) -> None:
    """By batches with a collector listening: nothing sampled, 1 % as in production, everything."""
    jobs = int(5_000 * scale)
    for share in ("0", "0.01", "1"):
        collector = Collector(keep=False)
        stack = OwnStack(
            base / f"traced-{share}",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
            OTEL_TRACES_SAMPLER="traceidratio",
            OTEL_TRACES_SAMPLER_ARG=share,
        )
        try:
            stack.start()
            bench = Rates(stack)
            asyncio.run(bench.end_to_end(jobs=jobs))
            rate = asyncio.run(bench.end_to_end(jobs=jobs))
            figure = f"{rate.per_s:.0f}"
            row(f"{jobs} by batches, {share} of the traces sampled, jobs/s", figure, f"{rate.total_us:.0f} µs a job")
        finally:
            stack.stop()
            collector.stop()


def start(stack: OwnStack) -> None:
    first = stack.start()
    stack.stop()
    warm = stack.start()
    row("start of the stack, first / warm, s", f"{first:.1f} / {warm:.1f}", "12 warm (moonshot 5)")
    time.sleep(5)
    memory = {name: pss_mb(stack.pids()[name]) for name in SERVICES}
    parts = ", ".join(f"{name} {value:.0f}" for name, value in memory.items())
    row("memory of the four services, idle, MB PSS", f"{sum(memory.values()):.0f}", f"500 (moonshot 300): {parts}")


def main() -> int:
    scale = float(os.environ.get("SCALE", "1"))
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    if unknown := set(only) - {*CHAPTERS, "traces"}:
        print(f"unknown chapter {', '.join(sorted(unknown))}; there are {', '.join([*CHAPTERS, 'traces'])}")
        return 2
    base = Path(tempfile.mkdtemp(prefix="jobyard-bench-"))
    stack = OwnStack(base / "stack")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load average before: {os.getloadavg()[0]:.1f}\n{__doc__}")
    try:
        start(stack)
        for name, chapter in CHAPTERS.items():
            if not only or name in only:
                # What a chapter leaves to be read, vacuumed and written is not the next one's.
                time.sleep(SETTLE_S)
                asyncio.run(chapter(Rates(stack), scale))
        stack.stop()
        if not only or "traces" in only:
            traced(base, scale)
    except KeyboardInterrupt:
        return 130
    finally:
        stack.stop()
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
