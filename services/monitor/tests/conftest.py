"""Messages as the other services send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from jobyard_common.contracts import files, jobs, output, telemetry
from jobyard_common.contracts.envelope import encode as encode_headers
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.telemetry.context import new_trace

START = datetime.now(UTC).replace(microsecond=0)
TENANT = "tnt_default"
KEY = jobs.Actor(jobs.ActorKind.KEY, "key_1")


@dataclass
class Records:
    """Makes records with growing offsets, all in partition 0."""

    start: datetime = START
    tenant: str = TENANT
    next_offset: int = 0
    job_ids: list[str] = field(default_factory=list)

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def job_id(self) -> str:
        self.job_ids.append(new_id("job"))
        return self.job_ids[-1]

    def record(
        self,
        topic: str,
        kind: str,
        body: object,
        *,
        key: str = "k",
        at: datetime | None = None,
        traceparent: str | None = None,
    ) -> Inbound:
        envelope = new_envelope(
            kind,
            source="/jobyard/test",
            subject=key,
            correlation_id="corr-1",
            traceparent=traceparent or new_trace(sampled=False).format(),
            time=at or self.start,
        )
        self.next_offset += 1
        value = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        return Inbound(topic, 0, self.next_offset - 1, 0, key.encode(), value, encode_headers(envelope))

    def event(
        self,
        job_id: str,
        event_no: int,
        verb: str,
        *,
        state: str | None = None,
        seconds: float | None = None,
        tenant: str | None = None,
        incarnation: int = 1,
        traceparent: str | None = None,
        **members: Any,
    ) -> Inbound:
        at = self.at(event_no if seconds is None else seconds)
        shown = state or {"started": "running", "retrying": "retry_wait"}.get(verb, verb)
        ended = shown in ("succeeded", "failed", "cancelled", "expired")
        job = {
            "id": job_id,
            "tool": "test.noop",
            "tool_version": "1",
            "state": shown,
            "reason": None,
            "dead": False,
            "version": event_no,
            "queue": "default",
            "priority": 5,
            "parameters": {"big": 10**30},
            "files": {},
            "attempt": 0 if verb in ("accepted", "queued") else 1,
            "error": None,
            "correlation_id": "corr-1",
            "trace_id": "a" * 32,
            "created_at": self.at(0),
            "started_at": None,
            "finished_at": at if ended else None,
            "wait_ms": 5,
            "run_ms": 40 if ended else None,
            "worker": "worker-1",
            **members,
        }
        body = jobs.JobEvent(
            msgspec.Raw(msgspec.json.encode(job)), tenant or self.tenant, incarnation, event_no, event_no * 10, KEY
        )
        return self.record("jobs.events", jobs.event_type(verb), body, key=job_id, at=at, traceparent=traceparent)

    def life(self, job_id: str, **members: Any) -> list[Inbound]:
        """A no-op job's three events."""
        return [self.event(job_id, n, verb, **members) for n, verb in enumerate(("queued", "started", "succeeded"), 1)]

    def line(self, seq: int, message: str = "", *, stream: str = "stdout", **more: Any) -> output.OutputLine:
        fields = more.pop("fields", None)
        return output.OutputLine(
            seq=seq,
            at=self.at(1 + (seq % 10**9) / 1000),
            stream=output.Stream(stream),
            message=message,
            fields=None if fields is None else msgspec.Raw(msgspec.json.encode(fields)),
            **more,
        )

    def pack(self, job_id: str, *lines: output.OutputLine, attempt: int = 1, tenant: str | None = None) -> Inbound:
        body = output.OutputPack(job_id, tenant or self.tenant, attempt, 7, lines)
        return self.record("jobs.output", output.OUTPUT, body, key=job_id)

    def file(
        self, file_id: str, event_no: int, verb: str, *, seconds: float, job_id: str | None = None, **members: Any
    ) -> Inbound:
        meta = files.FileMeta(
            id=file_id,
            tenant=members.pop("tenant", self.tenant),
            name=members.pop("name", "data.csv"),
            size=3,
            content_type="text/csv",
            sha256="0" * 64,
            state=verb,
            created_at=self.start,
            job_id=job_id,
        )
        body = files.FileEvent(meta, KEY, event_no)
        return self.record("files.events", files.event_type(verb), body, key=file_id, at=self.at(seconds))

    def logs(self, *rows: telemetry.LogRecord) -> Inbound:
        return self.record("logs", telemetry.LOG_RECORDS, telemetry.LogRecords(rows))

    def log(self, seconds: float, event: str = "something.happened", **members: Any) -> telemetry.LogRecord:
        told = {"service": "executor", "instance": "executor-1", "level": "info", **members}
        return telemetry.LogRecord(at=self.at(seconds), event=event, **told)

    def beat(self, service: str, *, at: datetime, instance: str | None = None, status: str = "ok") -> Inbound:
        body = telemetry.Heartbeat(service, instance or f"{service}-1", "0.1.0", self.start, at, status)
        return self.record("logs", telemetry.HEARTBEAT, body, key=service)

    def audit(self, entry_id: str, seconds: float, **members: Any) -> Inbound:
        told = {
            "tenant": self.tenant,
            "actor": KEY,
            "action": "job.submit",
            "target": "job_1",
            "outcome": "ok",
            **members,
        }
        if "detail" in told:
            told["detail"] = msgspec.Raw(msgspec.json.encode(told["detail"]))
        entry = telemetry.AuditEntry(id=entry_id, at=self.at(seconds), **told)
        return self.record("audit", telemetry.AUDIT_ENTRY, entry)


@pytest.fixture
def records() -> Records:
    return Records()
