"""The net under every missed unblock: blocked jobs whose parents are done, gone, or wait for each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
from jobyard_common.contracts.jobs import TERMINAL, JobState

from jobyard_executor.handlers.children import resolve_children, unblock
from jobyard_executor.handlers.context import Engine
from jobyard_executor.store import edges, jobs

OLDER_THAN = timedelta(seconds=60)
PAGE, PAGES = 500, 20
BEGIN: edges.Place = (datetime.min.replace(tzinfo=UTC), "")


class SweepBlocked:
    """Goes through the blocked jobs in the order of their age, `PAGES` at a time, and begins anew behind the last."""

    def __init__(self, engine: Engine, pool: asyncpg.Pool) -> None:
        self._engine = engine
        self._pool = pool
        self._after = BEGIN

    async def work(self) -> int:
        """Resolve blocked jobs older than a minute that nobody else will; returns how many."""
        count = 0
        for _ in range(PAGES):
            resolved, self._after = await _sweep_page(self._engine, self._pool, after=self._after)
            count += resolved
            if self._after == BEGIN:
                break
        if count:
            self._engine.wake_claim()
            self._engine.wake_relay()
        return count


async def _sweep_page(engine: Engine, pool: asyncpg.Pool, *, after: edges.Place) -> tuple[int, edges.Place]:
    """How many were resolved, and where the next page begins."""
    now = engine.clock.now()
    count = 0
    async with pool.acquire() as connection, connection.transaction():
        old = await edges.old_blocked(connection, before=now - OLDER_THAN, after=after, limit=PAGE)
        if not old:
            return 0, BEGIN
        locked = await jobs.lock_free(connection, [job_id for _, job_id in old])
        rows = await connection.fetch(edges.PARENTS, sorted(locked.jobs))
        parents: dict[str, list[tuple[str, str | None]]] = {}
        for row in rows:
            parents.setdefault(row["child_id"], []).append((row["parent_id"], row["state"]))
        write = engine.write(locked.epoch)
        in_circle = _circles(parents)
        for job in locked.jobs.values():
            if job.state is not JobState.BLOCKED:
                continue
            states = parents.get(job.job_id, [])
            forgotten = now - job.created_at > engine.unknown_parent_after
            bad = [p for p, state in states if state in TERMINAL and state != JobState.SUCCEEDED]
            bad += [p for p, state in states if state is None and forgotten]
            bad += [p for p, _ in states if job.job_id in in_circle]
            if bad or all(state == JobState.SUCCEEDED for _, state in states):
                unblock(engine, write, job, failed_parent=bad[0] if bad else None)
                count += 1
        await write.flush(connection)
        await resolve_children(engine, connection, write.terminal)
    return count, old[-1] if len(old) == PAGE else BEGIN


def _circles(parents: dict[str, list[tuple[str, str | None]]]) -> set[str]:
    """Jobs that wait, over any number of others, for themselves."""
    waits = {child: {p for p, state in rows if state == JobState.BLOCKED} for child, rows in parents.items()}
    found = set()
    for start in waits:
        todo, seen = set(waits[start]), set()
        while todo:
            job_id = todo.pop()
            if job_id == start:
                found.add(start)
                break
            seen.add(job_id)
            todo |= waits.get(job_id, set()) - seen
    return found
