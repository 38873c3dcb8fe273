"""Answers in the shapes of the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from jobyard_common.contracts.wire import rfc3339

from jobyard_monitor.domain.page import Page
from jobyard_monitor.domain.stats import Pair, Stats
from jobyard_monitor.domain.story import Attempt, FileStep, JobStep
from jobyard_monitor.domain.system import InstanceView, ServiceView
from jobyard_monitor.handlers.compute_stats import Window
from jobyard_monitor.handlers.read_timeline import Timeline
from jobyard_monitor.handlers.show_system import System
from jobyard_monitor.store.audit import Row as AuditRow
from jobyard_monitor.store.job_output import Line
from jobyard_monitor.store.service_logs import Entry, ErrorGroup

T = TypeVar("T")
Json = dict[str, Any]


def page(found: Page[T], view: Callable[[T], Json]) -> Json:
    return {"data": [view(row) for row in found.rows], "next_cursor": found.next_cursor, "has_more": found.has_more}


def line(row: Line) -> Json:
    shown = {
        "seq": row.seq,
        "at": rfc3339(row.at),
        "attempt": row.attempt,
        "stream": row.stream,
        "level": row.level,
        "message": row.message,
        "fields": _raw(row.fields, empty="{}"),
    }
    return {**shown, "late": True} if row.late else shown


def timeline(found: Timeline) -> Json:
    return {
        "data": [_job_step(step) if isinstance(step, JobStep) else _file_step(step) for step in found.steps],
        "attempts": [_attempt(row) for row in found.attempts],
        "truncated": found.truncated,
        "next_cursor": None,
        "has_more": False,
    }


def _job_step(step: JobStep) -> Json:
    return {
        "kind": "job",
        "at": rfc3339(step.at),
        "type": step.type,
        "seq": step.event_no,
        "incarnation": step.incarnation,
        "state": step.state,
        "reason": step.reason,
        "attempt": step.attempt,
        "actor": {"kind": step.actor_kind, "id": step.actor_id},
        "data": {
            "worker": step.worker,
            "wait_ms": step.wait_ms,
            "run_ms": step.run_ms,
            "error": _raw(step.error),
            "output_seq": step.output_seq,
        },
    }


def _file_step(step: FileStep) -> Json:
    return {
        "kind": "file",
        "at": rfc3339(step.at),
        "type": step.type,
        "seq": step.event_no,
        "state": step.state,
        "actor": {"kind": step.actor_kind, "id": step.actor_id},
        "data": {
            "file_id": step.file_id,
            "name": step.name,
            "size": step.size,
            "content_type": step.content_type,
            "sha256": step.sha256,
            "made_by_job": step.made_by_job,
        },
    }


def _attempt(row: Attempt) -> Json:
    return {
        "attempt": row.attempt,
        "started_at": rfc3339(row.started_at),
        "ended_at": _moment(row.ended_at),
        "outcome": row.outcome,
        "reason": row.reason,
        "worker": row.worker,
        "run_ms": row.run_ms,
        "error": _raw(row.error),
    }


def entry(row: Entry) -> Json:
    return {
        "at": rfc3339(row.at),
        "service": row.service,
        "instance": row.instance,
        "level": row.level,
        "event": row.event,
        "message": row.message,
        "logger": row.logger,
        "trace_id": row.trace_id,
        "span_id": row.span_id,
        "correlation_id": row.correlation_id,
        "job_id": row.job_id,
        "exception": row.exception,
        "fingerprint": row.fingerprint,
        "fields": _raw(row.fields, empty="{}"),
    }


def error_group(row: ErrorGroup) -> Json:
    return {
        "fingerprint": row.fingerprint,
        "count": row.times,
        "first_at": rfc3339(row.first_at),
        "last_at": rfc3339(row.last_at),
        "services": sorted(row.services),
        "last": {
            "level": row.level,
            "event": row.event,
            "message": row.message,
            "logger": row.logger,
            "exception": row.exception,
            "trace_id": row.trace_id,
            "correlation_id": row.correlation_id,
            "job_id": row.job_id,
        },
    }


def stats(found: Stats, window: Window) -> Json:
    return {
        "window": {"since": rfc3339(window.since), "until": rfc3339(window.until)},
        "states": found.states,
        "success_rate": found.success_rate,
        "run_ms": _percentiles(found.run_ms),
        "wait_ms": _percentiles(found.wait_ms),
        "tools": [
            {
                "tool": name,
                "states": tool.states,
                "run_ms": {state: _percentiles(pair) for state, pair in tool.run_ms.items()},
            }
            for name, tool in found.tools.items()
        ],
    }


def system(found: System) -> Json:
    return {
        "status": found.status.value,
        "at": rfc3339(found.at),
        "services": [_service(view) for view in found.services],
    }


def _service(view: ServiceView) -> Json:
    newest = view.newest
    return {
        "name": view.name,
        "status": view.status.value,
        "version": newest.version if newest else None,
        "last_beat_at": rfc3339(newest.at) if newest else None,
        "checks": dict(newest.checks) if newest else {},
        "instances": [_instance(row) for row in view.instances],
    }


def _instance(row: InstanceView) -> Json:
    return {
        "instance": row.instance,
        "status": row.status.value,
        "detail": row.detail,
        "version": row.beat.version,
        "started_at": rfc3339(row.beat.started_at),
        "last_beat_at": rfc3339(row.beat.at),
        "checks": dict(row.beat.checks),
    }


def audit(row: AuditRow) -> Json:
    return {
        "id": row.id,
        "at": rfc3339(row.at),
        "actor": {"kind": row.actor_kind, "id": row.actor_id},
        "action": row.action,
        "target": row.target,
        "outcome": row.outcome,
        "detail": _raw(row.detail, empty="{}"),
        "correlation_id": row.correlation_id,
        "trace_id": row.trace_id,
    }


def _percentiles(pair: Pair) -> Json:
    return {"p50": pair[0], "p95": pair[1]}


def _moment(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def _raw(text: str | None, *, empty: str = "null") -> msgspec.Raw:
    """JSON that was stored as it came."""
    return msgspec.Raw((text or empty).encode())
