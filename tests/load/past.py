"""A past made by COPY: finished jobs over four weeks of partitions, as the engine itself would have left them.

A job, its list row, its end, an attempt, a result, three lifecycle rows; every hundredth has a tag, every fiftieth has
failed and is a dead letter. Each week is loaded into tables of its own, without an index, in one transaction (so that
its rows are frozen and need no vacuum), by as many processes as there are processors; its indexes are built when it is
attached. Attached and detached again, the same history serves and its own absence is the control.
"""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import JobSpec
from jobyard_executor.store.partitions import SPAN, TABLES, first_id, week_of

BYTES_A_JOB = 3_000
"""On disk with all indexes, as measured at 10^6."""
SPARE_BYTES = 5 * 2**30
"""WAL, sorts of index builds, and the measured jobs themselves."""
WEEKS = 4
LOT = 50_000
SPEC = msgspec.json.encode(JobSpec("test.noop", "1", "async", "L0", 60.0)).decode()
ACTOR = '{"kind":"key","id":"key_history"}'
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
JOB = "job_id tenant state dead event_no born_ms attempt fence created_at queued_at started_at finished_at"
Row = tuple[str, str, int, int]
"""Id, time, milliseconds, number."""
COPIES: dict[str, tuple[str, Callable[[str, str, int, int], str]]] = {
    "job": (
        f"{JOB} correlation_id traceparent actor spec",
        lambda i, at, ms, n: (
            f"{i}\ttnt_default\t{_state(n)}\t{n % 50 == 0}\t3\t{ms}\t1\t{n}\t{at}\t{at}\t{at}\t{at}\tc{n}\t{TRACE}\t"
            f"{ACTOR}\t{SPEC}\n"
        ),
    ),
    "job_list": (
        "job_id tenant created_at tool queue correlation_id labels",
        lambda i, at, ms, n: f"{i}\ttnt_default\t{at}\ttest.noop\tdefault\tc{n}\t{_labels(n)}\n",
    ),
    "job_done": (
        "job_id tenant state created_at finished_at",
        lambda i, at, ms, n: f"{i}\ttnt_default\t{_state(n)}\t{at}\t{at}\n",
    ),
    "job_label": (
        "job_id tenant label created_at",
        lambda i, at, ms, n: (
            (f"{i}\ttnt_default\tt:nightly\t{at}\n" if n % 100 == 7 else "")
            + (f"{i}\ttnt_default\td:open\t{at}\n" if n % 50 == 0 else "")
        ),
    ),
    "attempt": (
        "job_id attempt fence worker verdict started_at finished_at run_ms",
        lambda i, at, ms, n: f"{i}\t1\t{n}\texecutor-history\tsucceeded\t{at}\t{at}\t4\n",
    ),
    "result": (
        "job_id attempt value stdout stderr truncated files run_ms",
        lambda i, at, ms, n: f"{i}\t1\tnull\t\t\tf\t[]\t4\n",
    ),
    "lifecycle": (
        "job_id event_no at type state attempt actor",
        lambda i, at, ms, n: (
            f"{i}\t1\t{at}\tqueued\tqueued\t0\t{ACTOR}\n{i}\t2\t{at}\tstarted\trunning\t1\t{ACTOR}\n"
            f"{i}\t3\t{at}\t{_state(n)}\t{_state(n)}\t1\t{ACTOR}\n"
        ),
    ),
}


def _state(n: int) -> str:
    return "failed" if n % 50 == 0 else "succeeded"


def _labels(n: int) -> str:
    return "{t:nightly}" if n % 100 == 7 else "\\N"


def weeks(now: datetime) -> list[datetime]:
    """The beginnings of the weeks before this one, oldest first."""
    return [week_of(now) - SPAN * back for back in range(WEEKS, 0, -1)]


def disk_needed(rows: int) -> int:
    return rows * BYTES_A_JOB + SPARE_BYTES


class Past:
    """The history of one stack; `database` is a connection of the executor's role."""

    def __init__(self, dsn: str, database: asyncpg.Connection[Any], *, now: datetime) -> None:
        self._dsn = dsn
        self._database = database
        self._weeks = weeks(now)
        self.attached = False

    async def clear(self) -> None:
        """Drop what there is of these weeks, also what the executor made ahead of its first job."""
        for week in self._weeks:
            for table in TABLES:
                await self._database.execute(f"DROP TABLE IF EXISTS {table}_{_suffix(week)}")
        self.attached = False

    async def make(self, rows: int) -> None:
        """Load `rows` jobs and attach them."""
        await self.clear()
        shares = [rows * n // WEEKS for n in range(WEEKS + 1)]
        loop = asyncio.get_running_loop()
        count, context = min(WEEKS, os.cpu_count() or 1), multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=count, mp_context=context) as workers:
            loads = [
                loop.run_in_executor(workers, load, self._dsn, week, first, last)
                for week, first, last in zip(self._weeks, shares[:-1], shares[1:], strict=True)
            ]
            await asyncio.gather(*loads)
        await self._database.execute("SET maintenance_work_mem = '256MB'")
        await self.attach()

    async def attach(self) -> None:
        """The first time this builds the indexes; a check of the ids spares a scan for them."""
        for week in self._weeks if not self.attached else ():
            low, high = (first_id(moment, cell="00") for moment in (week, week + SPAN))
            for table in TABLES:
                part = f"{table}_{_suffix(week)}"
                await self._database.execute(
                    f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ('{low}') TO ('{high}')"
                )
        self.attached = True

    async def detach(self) -> None:
        for week in self._weeks if self.attached else ():
            for table in TABLES:
                await self._database.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_{_suffix(week)}")
        self.attached = False


def load(dsn: str, week: datetime, first: int, last: int) -> None:
    """The jobs number `first` to `last` as one week, in a process of its own."""
    asyncio.run(_load(dsn, week, first, last))


async def _load(dsn: str, week: datetime, first: int, last: int) -> None:
    database = await asyncpg.connect(dsn)
    try:
        await database.execute("SET search_path = executor; SET ROLE jobyard_executor")
        low, high = (first_id(moment, cell="00") for moment in (week, week + SPAN))
        async with database.transaction():
            for table in TABLES:
                filled = " WITH (fillfactor = 70)" if table == "job" else ""
                await database.execute(
                    f"CREATE TABLE {table}_{_suffix(week)} (LIKE {table} INCLUDING DEFAULTS, "
                    f"CHECK (job_id >= '{low}' AND job_id < '{high}')){filled}"
                )
            for rows in _lots(week, first, last):
                for table, (columns, line) in COPIES.items():
                    text = "".join([line(*row) for row in rows])
                    await database.copy_to_table(
                        f"{table}_{_suffix(week)}",
                        schema_name="executor",
                        columns=columns.split(),
                        source=io.BytesIO(text.encode()),
                        freeze=True,
                    )
    finally:
        await database.close()


def _lots(week: datetime, first: int, last: int) -> Iterator[list[Row]]:
    step = SPAN / (last - first + 1)
    for low in range(first, last, LOT):
        rows = []
        for n in range(low, min(low + LOT, last)):
            moment = week + step * (n - first)
            stamp = int(moment.timestamp() * 1000)
            rows.append((new_id("job", now_ms=stamp), moment.isoformat(), stamp, n))
        yield rows


def _suffix(week: datetime) -> str:
    return f"w{week:%Y%m%d}"


async def settle(database: asyncpg.Connection[Any], *, quiet_s: float = 3.0, timeout_s: float = 900.0) -> None:
    """Nothing left over from the load: statistics made, dirty pages written, autovacuum idle. As the superuser."""
    await database.execute("VACUUM ANALYZE")
    await database.execute("CHECKPOINT")
    busy = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    until = datetime.now(UTC) + timedelta(seconds=timeout_s)
    quiet = 0.0
    while quiet < quiet_s:
        if datetime.now(UTC) > until:
            raise TimeoutError("autovacuum does not come to rest")
        await asyncio.sleep(0.5)
        quiet = 0.0 if await database.fetchval(busy) else quiet + 0.5
