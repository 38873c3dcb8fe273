"""Rows of `job`: read, lock, insert.

Lookups name the ids as one sorted array, so that partitions are pruned and the primary key is used even on a table
without statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import JobState
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Job
from jobyard_executor.store.part import Part, among, places

COLUMNS = Job.__struct_fields__
_LIST = ", ".join(f"j.{name}" for name in COLUMNS)
TIMELINE = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint"
EPOCH = f"({TIMELINE} + (SELECT added FROM recovery))"
"""The WAL timeline grows with every failover and restore, at once and without anybody's help; see `domain/epoch.py`."""
_SHOWN = f"SELECT {_LIST}, l.progress AS live, (SELECT {EPOCH}) AS epoch FROM job j LEFT JOIN lease l USING (job_id)"
GET = f"{_SHOWN} WHERE j.job_id = $1 AND j.tenant = $2"
AMONG = among("j.job_id", "$1::text[]")
GET_MANY = f"{_SHOWN} WHERE j.job_id = ANY($1::text[])"
LOCK = f"SELECT {_LIST}, (SELECT {EPOCH}) FROM job j WHERE {AMONG} ORDER BY j.job_id FOR UPDATE"
LOCK_HELD = f"""
SELECT j.job_id, j.fence, j.session, j.event_no, (SELECT {EPOCH}) FROM job j
WHERE {AMONG} ORDER BY j.job_id FOR UPDATE
"""
LOCK_FREE = f"{LOCK} SKIP LOCKED"
SHARE = f"SELECT j.job_id, j.state, j.tenant FROM job j WHERE {AMONG} ORDER BY j.job_id FOR SHARE"
EXIST = "SELECT job_id FROM job WHERE job_id = ANY($1::text[]) AND tenant = $2"

_TYPES = {
    "dead": "boolean",
    "event_no": "integer",
    "born_ms": "bigint",
    "attempt": "integer",
    "failures": "integer",
    "lost": "integer",
    "interrupted": "integer",
    "fence": "bigint",
    "output_seq": "bigint",
    "pending": "integer",
    "timers": "boolean",
    **dict.fromkeys(("created_at", "run_at", "queued_at", "started_at", "finished_at"), "timestamptz"),
}


def type_of(column: str) -> str:
    return _TYPES.get(column, "text")


_BORN = (
    "job_id", "tenant", "state", "reason", "dead", "event_no", "born_ms", "created_at", "run_at", "queued_at",
    "finished_at", "pending", "timers", "correlation_id", "traceparent", "origin_id", "parent_id", "actor", "spec",
    "error", "schedule_id", "twin_id", "place",
)  # fmt: skip
_STEADY = (
    "tenant state reason dead event_no born_ms run_at finished_at pending timers origin_id parent_id actor error "
    "schedule_id twin_id place"
)
_COLUMNS_BORN = tuple((name, type_of(name)) for name in _BORN)
INSERT = Part(
    "INSERT INTO job",
    _COLUMNS_BORN,
    places(_COLUMNS_BORN, _STEADY.split()),
    f" ON CONFLICT DO NOTHING RETURNING job_id, (SELECT {EPOCH})",
)
_INSERTS = {(shared, joined): INSERT.sql(1, shared, joined) for shared in (False, True) for joined in (False, True)}
_born = attrgetter(*_BORN)


def job_of(row: Sequence[Any]) -> Job:
    """A row whose first columns are `COLUMNS`."""
    job = Job(*row[: len(COLUMNS)])
    job.state = JobState(job.state)
    return job


class Locked(msgspec.Struct):
    """Jobs that this transaction holds, and the epoch in which it does."""

    jobs: dict[str, Job]
    epoch: int


async def insert(connection: Connection, jobs: Iterable[Job]) -> tuple[set[str], int]:
    """Insert new jobs in id order; returns the ids that did not exist before, and the epoch."""
    rows = sorted(jobs, key=lambda job: job.job_id)
    parameters, shared = INSERT.parameters([_born(job) for job in rows])
    found = await connection.fetch(_INSERTS[shared, INSERT.join(parameters)], *parameters)
    return {row[0] for row in found}, (found[0][1] if found else 0)


async def lock(connection: Connection, job_ids: Iterable[str]) -> Locked:
    """Lock jobs in id order, waiting for whoever holds them."""
    return _locked(await connection.fetch(LOCK, sorted(set(job_ids))))


async def lock_held(connection: Connection, known: Mapping[str, Job]) -> Locked:
    """Lock jobs that we know already; only those that changed since are read anew. Each change counts `event_no`."""
    rows = await connection.fetch(LOCK_HELD, sorted(known))
    found: dict[str, Job] = {}
    stale = []
    for job_id, fence, session, event_no, _ in rows:
        job = known[job_id]
        if job.event_no == event_no and job.fence == fence and job.session == session:
            found[job_id] = job
        else:
            stale.append(job_id)
    if stale:
        found |= (await lock(connection, stale)).jobs
    return Locked(found, rows[0][-1] if rows else 0)


async def lock_free(connection: Connection, job_ids: Iterable[str]) -> Locked:
    """Lock those of the jobs that nobody else holds."""
    return _locked(await connection.fetch(LOCK_FREE, sorted(set(job_ids))))


def _locked(rows: Sequence[Any]) -> Locked:
    return Locked({row[0]: job_of(row) for row in rows}, rows[0][-1] if rows else 0)
