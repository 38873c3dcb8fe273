"""One statement that stores any set of changes to jobs, with their events.

A handler locks jobs, asks `next_state`, and adds what follows from it to a `Write`; `flush` sends all of it in a
single round trip whose parts touch different tables. Batches of any size cost the same number of statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec
from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.jobs import TERMINAL, Actor, JobEvent, JobSpec, JobState
from jobyard_common.contracts.topics import JOBS_EVENTS
from jobyard_common.contracts.wire import decode
from jobyard_common.db.connection import Connection
from jobyard_common.messaging import outbox
from jobyard_common.messaging.publisher import OutRecord

from jobyard_executor.domain import ageing, lane
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.snapshot import incarnation, moment, snapshot
from jobyard_executor.store.jobs import type_of

_encode = msgspec.json.Encoder().encode
_actor = msgspec.json.Decoder(Actor).decode

_CHANGING = (
    "state", "reason", "dead", "event_no", "attempt", "failures", "lost", "interrupted", "fence", "session", "worker",
    "run_at", "queued_at", "started_at", "finished_at", "output_seq", "pending", "timers", "run_trace", "error",
    "progress",
)  # fmt: skip
_STARTING = ("state", "reason", "event_no", "attempt", "fence", "session", "worker", "started_at", "finished_at",
             "run_trace", "error")  # fmt: skip


def _insert(table: str, columns: Sequence[tuple[str, str]]) -> str:
    names = ", ".join(name for name, _ in columns)
    arrays = ", ".join(f"${{{i}}}::{kind}[]" for i, (_, kind) in enumerate(columns))
    return f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays})"


def _update_jobs(columns: Sequence[str]) -> str:
    sets = ", ".join(f"{name} = n.{name}" for name in columns)
    arrays = ", ".join(f"${{{i}}}::{type_of(name)}[]" for i, name in enumerate(("job_id", *columns)))
    return (
        f"UPDATE job j SET {sets} FROM unnest({arrays}) AS n (job_id, {', '.join(columns)}) "
        "WHERE j.job_id = n.job_id AND j.job_id = ANY(${0}::text[])"
    )


_PARTS = {
    "changed": _update_jobs(_CHANGING),
    "started": _update_jobs(_STARTING),
    "listed": _insert(
        "job_list",
        [
            ("job_id", "text"),
            ("tenant", "text"),
            ("created_at", "timestamptz"),
            ("tool", "text"),
            ("queue", "text"),
            ("correlation_id", "text"),
            ("parent_id", "text"),
            ("origin_id", "text"),
            ("made_by", "text"),
        ],
    ),
    "labelled": """
        INSERT INTO job_list
            (job_id, tenant, created_at, tool, queue, correlation_id, parent_id, origin_id, made_by, labels)
        SELECT a, b, c, d, e, f, g, h, i, ARRAY(SELECT json_array_elements_text(k::json)) FROM unnest(${0}::text[],
        ${1}::text[], ${2}::timestamptz[], ${3}::text[], ${4}::text[], ${5}::text[], ${6}::text[], ${7}::text[],
        ${8}::text[], ${9}::text[]) AS x (a, b, c, d, e, f, g, h, i, k)
    """,
    "ready": _insert(
        "ready",
        [
            ("job_id", "text"),
            ("lane", "text"),
            ("sort_at", "timestamptz"),
            ("tenant", "text"),
            ("expires_at", "timestamptz"),
        ],
    ),
    "unready": "DELETE FROM ready WHERE job_id = ANY(${0}::text[])",
    "leased": _insert(
        "lease",
        [
            ("job_id", "text"),
            ("fence", "bigint"),
            ("session", "text"),
            ("claim_id", "text"),
            ("tenant", "text"),
            ("queue", "text"),
            ("tool", "text"),
            ("concurrency", "text"),
            ("attempt", "integer"),
            ("started_at", "timestamptz"),
        ],
    ),
    "unleased": "DELETE FROM lease WHERE job_id = ANY(${0}::text[])",
    "timed": _insert("timer", [("job_id", "text"), ("kind", "text"), ("fire_at", "timestamptz")])
    + " ON CONFLICT (job_id, kind) DO UPDATE SET fire_at = excluded.fire_at",
    "untimed": "DELETE FROM timer WHERE job_id = ANY(${0}::text[])",
    "unstarted": "DELETE FROM timer WHERE job_id = ANY(${0}::text[]) AND kind = 'start'",
    "blocked": _insert("blocked", [("job_id", "text"), ("tenant", "text"), ("since", "timestamptz")]),
    "unblocked": "DELETE FROM blocked WHERE job_id = ANY(${0}::text[])",
    "edges": _insert("edge", [("parent_id", "text"), ("child_id", "text"), ("done", "boolean")])
    + " ON CONFLICT DO NOTHING",
    "attempts": _insert(
        "attempt",
        [
            ("job_id", "text"),
            ("attempt", "integer"),
            ("fence", "bigint"),
            ("worker", "text"),
            ("verdict", "text"),
            ("started_at", "timestamptz"),
            ("finished_at", "timestamptz"),
            ("run_ms", "bigint"),
            ("return_code", "integer"),
            ("error", "text"),
        ],
    )
    + " ON CONFLICT DO NOTHING",
    "results": _insert(
        "result",
        [
            ("job_id", "text"),
            ("attempt", "integer"),
            ("value", "text"),
            ("return_code", "integer"),
            ("stdout", "text"),
            ("stderr", "text"),
            ("truncated", "boolean"),
            ("files", "text"),
            ("run_ms", "bigint"),
        ],
    ),
    "done": _insert(
        "job_done",
        [
            ("job_id", "text"),
            ("tenant", "text"),
            ("state", "text"),
            ("created_at", "timestamptz"),
            ("finished_at", "timestamptz"),
        ],
    ),
    "lifecycle": _insert(
        "lifecycle",
        [
            ("job_id", "text"),
            ("event_no", "integer"),
            ("at", "timestamptz"),
            ("type", "text"),
            ("state", "text"),
            ("reason", "text"),
            ("attempt", "integer"),
            ("actor", "text"),
            ("data", "text"),
        ],
    ),
    "keyed": _insert(
        "keyed_id",
        [
            ("job_id", "text"),
            ("tenant", "text"),
            ("body_hash", "text"),
            ("expires_at", "timestamptz"),
        ],
    )
    + " ON CONFLICT DO NOTHING",
    "seen": _insert(
        "command_seen",
        [
            ("command_id", "text"),
            ("tenant", "text"),
            ("outcome", "text"),
            ("job_id", "text"),
            ("at", "timestamptz"),
        ],
    )
    + " ON CONFLICT DO NOTHING",
    "tombstones": _insert(
        "tombstone", [("job_id", "text"), ("tenant", "text"), ("actor", "text"), ("at", "timestamptz")]
    )
    + " ON CONFLICT DO NOTHING",
    "undeduped": "DELETE FROM dedupe WHERE job_id = ANY(${0}::text[]) AND until IS NULL",
    "outbox": re.sub(r"\$(\d+)", lambda found: f"${{{int(found[1]) - 1}}}", outbox.PUT),
}
_changing = attrgetter("job_id", *_CHANGING)
_starting = attrgetter("job_id", *_STARTING)
_ORDER = tuple(_PARTS)
_composed: dict[tuple[tuple[str, int], ...], str] = {}
_ce: Headers = [("content-type", b"application/json"), ("ce_specversion", b"1.0")]


def _compose(shape: tuple[tuple[str, int], ...]) -> str:
    """`shape` = the parts in order, each with its number of parameters."""
    text = _composed.get(shape)
    if text is None:
        parts, first = [], 1
        for name, count in shape:
            parts.append(f"w_{name} AS ({_PARTS[name].format(*range(first, first + count))})")
            first += count
        text = _composed[shape] = f"WITH {', '.join(parts)} SELECT 1"
    return text


class Write:
    """Changes of one transaction. Jobs must be locked, or new. `terminal` collects what ended, for its children."""

    def __init__(self, *, epoch: int, source: str) -> None:
        self._epoch = epoch
        self._source = source.encode()
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._ids: dict[str, list[str]] = {}
        self._changed: dict[str, Job] = {}
        self._records: list[OutRecord] = []
        self.terminal: list[Job] = []

    def add(self, part: str, *row: Any) -> None:
        self._rows.setdefault(part, []).append(row)

    def drop(self, part: str, job_id: str) -> None:
        self._ids.setdefault(part, []).append(job_id)

    def changed(self, job: Job) -> None:
        """Store the row as it is when the Write is flushed."""
        self._changed[job.job_id] = job

    def started(self, job: Job) -> None:
        self.add("started", *_starting(job))

    def event(
        self,
        job: Job,
        verb: str,
        *,
        at: datetime,
        actor: str,
        spec: JobSpec | None = None,
        outputs: tuple[str, ...] = (),
        data: str | None = None,
    ) -> bytes:
        """The event `verb` of a job as it is now, with its lifecycle row; returns the snapshot."""
        body = snapshot(job, spec=spec)
        born = incarnation(job, epoch=self._epoch)
        event = JobEvent(msgspec.Raw(body), job.tenant, born, job.event_no, job.output_seq, _actor(actor), outputs)
        headers: Headers = [
            *_ce,
            ("ce_id", f"{job.job_id}.{born}.{job.event_no}".encode()),
            ("ce_source", self._source),
            ("ce_type", f"jobyard.job.{verb}.v1".encode()),
            ("ce_subject", job.job_id.encode()),
            ("ce_time", moment(at).encode()),
            ("ce_correlationid", job.correlation_id.encode()),
            ("traceparent", (job.run_trace or job.traceparent).encode()),
        ]
        self._records.append(OutRecord(JOBS_EVENTS.name, job.job_id, _encode(event), headers))
        self.add("lifecycle", job.job_id, job.event_no, at, verb, job.state.value, job.reason, job.attempt, actor, data)
        return body

    def entered(self, job: Job, *, spec: JobSpec | None = None) -> None:
        """What the state that a waiting or ended job has just reached needs beside its row."""
        spec = spec or decode(JobSpec, job.spec.encode())
        if job.state is JobState.QUEUED:
            self.queue(job, spec)
        elif job.state in (JobState.SCHEDULED, JobState.RETRY_WAIT):
            job.timers = True
            self.add("timed", job.job_id, "start", job.run_at)
        elif job.state in TERMINAL:
            self.ended(job, spec)

    def queue(self, job: Job, spec: JobSpec) -> None:
        assert job.queued_at is not None
        expires_at = None
        if spec.ttl_s is not None and job.attempt == 0:
            expires_at = job.queued_at + timedelta(seconds=spec.ttl_s)
            job.timers = True
            self.add("timed", job.job_id, "ttl", expires_at)
        sort_at = ageing.sort_at(job.queued_at, priority=spec.priority)
        self.add("ready", job.job_id, lane.lane_of(spec, tenant=job.tenant), sort_at, job.tenant, expires_at)

    def ended(self, job: Job, spec: JobSpec) -> None:
        self.add("done", job.job_id, job.tenant, job.state.value, job.created_at, job.finished_at)
        if job.timers:
            self.drop("untimed", job.job_id)
        if spec.dedupe is not None:
            self.drop("undeduped", job.job_id)
        if spec.depends_on:
            self.drop("unblocked", job.job_id)
        self.terminal.append(job)

    def records(self, records: Iterable[OutRecord]) -> None:
        self._records.extend(records)

    async def flush(self, connection: Connection) -> None:
        """Send everything; the Write is empty afterwards, except for `terminal`."""
        if self._changed:
            self._rows["changed"] = [_changing(job) for job in self._changed.values()]
        columns: dict[str, Sequence[Sequence[Any]]] = {
            part: list(zip(*rows, strict=True)) for part, rows in self._rows.items()
        }
        columns.update({part: [ids] for part, ids in self._ids.items()})
        if self._records:
            columns["outbox"] = outbox.columns(self._records)
        shape = tuple((part, len(columns[part])) for part in _ORDER if part in columns)
        self._rows, self._ids, self._changed, self._records = {}, {}, {}, []
        if shape:
            parameters = [array for part, _ in shape for array in columns[part]]
            await connection.execute(_compose(shape), *parameters)
