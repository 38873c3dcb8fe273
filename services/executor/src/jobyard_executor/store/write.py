"""One statement that stores any set of changes to jobs, with their events.

A handler locks jobs, asks `next_state`, and adds what follows from it to a `Write`; `flush` sends all of it in a
single round trip whose parts (`store/parts.py`) touch different tables. Batches of any size cost the same number of
statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.jobs import TERMINAL, Actor, JobEvent, JobSpec, JobState
from jobyard_common.contracts.topics import JOBS_EVENTS
from jobyard_common.contracts.wire import decode
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.publisher import OutRecord

from jobyard_executor.domain import ageing, lane
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.snapshot import incarnation, moment, snapshot
from jobyard_executor.store import parts
from jobyard_executor.store.part import joined as join

_encode = msgspec.json.Encoder().encode
_actor = lru_cache(maxsize=1024)(msgspec.json.Decoder(Actor).decode)
_ce: Headers = [("content-type", b"application/json"), ("ce_specversion", b"1.0")]

_id = itemgetter(0)
_changing = attrgetter("job_id", *parts.CHANGING)
_starting = attrgetter("job_id", *parts.STARTING)
_ending = attrgetter("job_id", *parts.ENDING)

Keep = Callable[[Sequence[int], Sequence[OutRecord]], None]


class Write:
    """Changes of one transaction. Jobs must be locked, or new. `terminal` collects what ended, for its children."""

    def __init__(
        self, *, epoch: int, source: str, keep: Keep, came: Callable[[str], None] = lambda _queue: None
    ) -> None:
        self._epoch = epoch
        self._keep = keep
        self._came = came
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
        what = (job.job_id, job.event_no, at, verb, job.state.value, job.reason, job.attempt, actor, data)
        self.add("lifecycle", *what, job.output_seq, born)
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
        self._came(spec.queue)
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
        for job in self._changed.values():
            if job.state in TERMINAL and job.attempt and not job.timers and not job.pending:
                self.add("ended", *_ending(job))
            else:
                self.add("changed", *_changing(job))
        shape: list[tuple[str, int, bool, bool]] = []
        parameters: list[Any] = []
        for part in parts.ORDER:
            shared = joined = False
            if part in self._rows:
                if part in parts.ROWS:
                    if parts.ROWS[part].update:
                        self._rows[part].sort(key=_id)
                    columns, shared = parts.ROWS[part].parameters(self._rows[part])
                    joined = parts.ROWS[part].join(columns)
                else:
                    columns = list(zip(*self._rows[part], strict=True))
            elif part in self._ids:
                text = join(self._ids[part])
                joined = text is not None
                columns = [text if joined else self._ids[part]]
            elif part == "outbox" and self._records:
                columns, joined = parts.outbox_columns(self._records)
            else:
                continue
            shape.append((part, len(columns), shared, joined))
            parameters += columns
        records = self._records
        self._rows, self._ids, self._changed, self._records = {}, {}, {}, []
        if shape:
            ids = await connection.fetchval(parts.compose(tuple(shape)), *parameters)
            if ids:
                self._keep(sorted(ids), records)
