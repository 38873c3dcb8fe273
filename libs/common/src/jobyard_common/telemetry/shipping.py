"""Heartbeats and service logs on their way to the monitor: best effort, bounded, never in anybody's way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from jobyard_common.contracts import telemetry, topics
from jobyard_common.contracts.envelope import encode as encode_headers
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.wire import encode, parse_rfc3339, utc_now
from jobyard_common.messaging.publisher import OutRecord, Publisher, PublishFailed
from jobyard_common.runtime.health import Readiness
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.context import new_trace

BUFFER = 5_000
PACK = 200
_KNOWN = frozenset(
    {"at", "level", "service", "instance", "event", "message", "component", "job_id", "tenant", "exception"}
    | {"trace_id", "span_id", "correlation_id"}
)


class LogBuffer:
    """Keeps the newest records of this process until they are shipped; `add` is what logging calls."""

    def __init__(self) -> None:
        self.records: deque[dict[str, Any]] = deque(maxlen=BUFFER)

    def add(self, record: dict[str, Any]) -> None:
        if len(self.records) == BUFFER:
            metrics.LOG_DROPPED.labels(reason="buffer_full").inc()
        self.records.append(record)


class Shipping(Component):
    """Every second the logs, every two seconds a heartbeat."""

    name = "shipping"

    def __init__(
        self,
        publisher: Publisher,
        readiness: Readiness,
        *,
        service: str,
        instance: str,
        version: str,
        logs: LogBuffer,
        facts: Callable[[], dict[str, object]] | None = None,
        beat_s: float = 2.0,
    ) -> None:
        super().__init__()
        self._publisher = publisher
        self._readiness = readiness
        self._service, self._instance, self._version = service, instance, version
        self._logs = logs
        self._facts = facts or (dict)
        self._beat_s = beat_s
        self._started_at = utc_now()

    async def start(self) -> None:
        metrics.BUILD.labels(service=self._service, version=self._version).set(1)
        self.spawn(self._beat(), name="beat")
        self.spawn(self._ship(), name="ship")

    async def drain(self) -> None:
        await self._send_logs()

    async def _beat(self) -> None:
        while True:
            status = self._readiness.status()
            beat = telemetry.Heartbeat(
                service=self._service,
                instance=self._instance,
                version=self._version,
                started_at=self._started_at,
                at=utc_now(),
                status=status,
                checks=self._readiness.results(),
                facts=self._facts(),
            )
            await self._send(telemetry.HEARTBEAT, encode(beat))
            await asyncio.sleep(self._beat_s)

    async def _ship(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self._send_logs()

    async def _send_logs(self) -> None:
        while self._logs.records:
            rows = [self._logs.records.popleft() for _ in range(min(PACK, len(self._logs.records)))]
            records = tuple(record for row in rows if (record := _record(row)) is not None)
            if not await self._send(telemetry.LOG_RECORDS, encode(telemetry.LogRecords(records))):
                metrics.LOG_DROPPED.labels(reason="unsent").inc(len(rows))
                return

    async def _send(self, kind: str, value: bytes) -> bool:
        envelope = new_envelope(
            kind,
            source=f"/jobyard/{self._service}",
            subject=self._instance,
            correlation_id=self._instance,
            traceparent=new_trace(sampled=False).format(),
        )
        try:
            await self._publisher.send(OutRecord(topics.LOGS.name, self._instance, value, encode_headers(envelope)))
        except PublishFailed:
            return False
        return True


def _record(row: dict[str, Any]) -> telemetry.LogRecord | None:
    rest = {name: value for name, value in row.items() if name not in _KNOWN}
    try:
        return telemetry.LogRecord(
            at=_moment(row.get("at")),
            service=str(row.get("service", "")),
            instance=str(row.get("instance", "")),
            level=str(row.get("level", "info")),
            event=str(row.get("event", ""))[:256],
            message=str(row.get("message", ""))[:16_384],
            logger=str(row.get("component", "")),
            trace_id=row.get("trace_id"),
            span_id=row.get("span_id"),
            correlation_id=row.get("correlation_id"),
            job_id=row.get("job_id"),
            tenant=row.get("tenant"),
            exception=row.get("exception"),
            fields=_fields(rest),
        )
    except (ValueError, TypeError, msgspec.MsgspecError):
        metrics.LOG_DROPPED.labels(reason="unencodable").inc()
        return None


def _moment(text: object) -> datetime:
    return parse_rfc3339(text) if isinstance(text, str) else utc_now()


def _fields(rest: dict[str, Any]) -> msgspec.Raw | None:
    if not rest:
        return None
    text = msgspec.json.encode(rest, enc_hook=str)
    return msgspec.Raw(text if len(text) <= 8192 else b'{"_truncated": true}')
