"""Plans that are made once, on empty tables, and kept: they must be right behind any history and any backlog."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from jobyard_common.contracts.jobs import Dedupe, DedupeMode
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]
PREPARED = (
    "SELECT name, statement, parameter_types::text[] AS types FROM pg_prepared_statements WHERE generic_plans > 0"
)
HISTORY = ("job", "job_list", "job_done", "attempt", "result", "lifecycle")
GROWING = (*HISTORY, "ready", "lease", "timer", "edge", "blocked", "dedupe", "keyed_id", "tombstone", "outbox")
HISTORIES = re.compile(rf"Scan using ({'|'.join(HISTORY)})_w")
IN_ORDER = {"ready_turn", "outbox_pkey"}
"""Indexes that may be read without a condition: from their beginning, up to a limit."""
VALUES = {
    "text": "'{id}'",
    "text[]": "ARRAY['{id}']",
    "timestamp with time zone": "now()",
    "timestamp with time zone[]": "ARRAY[now()]",
    "interval": "interval '1 s'",
    "bytea": "''",
    "bytea[]": "ARRAY[''::bytea]",
    "boolean": "true",
    "boolean[]": "ARRAY[true]",
}


def literal(kind: str, *, job_id: str) -> str:
    return VALUES.get(kind, "ARRAY[1]" if kind.endswith("[]") else "1").format(id=job_id)


def faults(plan: str) -> list[str]:
    """Scans that would grow with a table."""
    found = []
    lines = plan.splitlines()
    for place, line in enumerate(lines):
        scan = re.search(r"(Seq|Bitmap Heap|Index(?: Only)?) Scan(?: using (\S+))? on (\S+)", line)
        if scan is None or re.sub(r"_(w\d+|keyed|other)$", "", scan[3]) not in GROWING:
            continue
        following = lines[place + 1] if place + 1 < len(lines) else ""
        by_key = scan[1].startswith("Index") and "Index Cond" in following
        if not by_key and re.sub(r"_w\d+_", "_", scan[2] or "") not in IN_ORDER:
            found.append(line.strip())
    return found


async def explained(pool: Any, *, job_id: str) -> dict[str, str]:
    """The kept plan of every statement that a connection of the pool has run."""
    found: dict[str, str] = {}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(pool.get_size()):
            connection = await stack.enter_async_context(pool.acquire())
            for row in await connection.fetch(PREPARED):
                values = ", ".join(literal(kind, job_id=job_id) for kind in row["types"])
                lines = await connection.fetch(f"EXPLAIN EXECUTE {row['name']}{f'({values})' if values else ''}")
                found[row["statement"]] = "\n".join(line[0] for line in lines)
    return found


def test_kept_plans_find_rows_by_their_keys_and_open_one_partition(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(lambda a: ended(a, value=b"1")))
        parent = bench.submit()
        await bench.apply(parent)
        await bench.until(parent.job_id, "succeeded")
        late = bench.submit(queue="nobody", tool="test.nobody", tags=("a",))
        await bench.know("test.nobody")
        several = [bench.submit(depends_on=(late.job_id,), deadline_at=None) for _ in range(10)]
        keyed = bench.submit(keyed=True, body_hash="h", dedupe=Dedupe("k", DedupeMode.WHILE_ACTIVE, None))
        await bench.apply(late, *several)
        await bench.apply(keyed, *[bench.submit() for _ in range(20)])
        await bench.until(keyed.job_id, "succeeded")
        await bench.apply(bench.cancel(late.job_id))
        await bench.until(several[0].job_id, "failed")
        for work in bench._works:
            await work.drain()

        seen = await explained(bench.by_key, job_id=parent.job_id)
        bad = {sql[:200]: faults(plan) for sql, plan in seen.items() if faults(plan)}
        assert not bad, bad
        whole = [sql[:200] for sql, plan in seen.items() if HISTORIES.search(plan) and "Subplans Removed" not in plan]
        assert not whole, whole
        hot = ("UPDATE job j", "INSERT INTO job", "FOR UPDATE SKIP LOCKED", "DELETE FROM ready", "DELETE FROM lease")
        assert not [part for part in hot if not any(part in sql for sql in seen)], sorted(seen)

    play(scenario)
