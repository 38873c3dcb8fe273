"""Workflows and runs in the shapes of the public API, without links."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.workflows import Step

from jobyard_executor.domain.snapshot import moment
from jobyard_executor.domain.workflow import StepState
from jobyard_executor.inbound.http_shapes import raw
from jobyard_executor.store.runs import Run
from jobyard_executor.store.workflows import Workflow

Body = dict[str, object]


def _moment(value: datetime | None) -> str | None:
    return None if value is None else moment(value)


def workflow_body(workflow: Workflow, *, whole: bool) -> Body:
    """`whole` adds the graph."""
    found: Body = {
        "id": workflow.workflow_id,
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.description,
        "steps_total": workflow.steps,
        "actor": raw(workflow.actor),
        "created_at": moment(workflow.created_at),
    }
    return found | msgspec.json.decode(workflow.graph, type=dict[str, msgspec.Raw]) if whole else found


def run_body(
    run: Run,
    *,
    counts: dict[str, int] | None = None,
    given: str | None = None,
    steps: list[Body] | None = None,
    cursor: str | None = None,
) -> Body:
    found: Body = {
        "id": run.run_id,
        "workflow_id": run.workflow_id,
        "name": run.name,
        "version": run.version,
        "state": run.state.value,
        "error": raw(run.error),
        "progress": {
            "steps": run.steps,
            "steps_done": run.steps - run.steps_open,
            "jobs": run.jobs,
            "jobs_done": run.jobs - run.jobs_open,
        },
        "origin_id": run.origin_id,
        "actor": raw(run.actor),
        "correlation_id": run.correlation_id,
        "trace_id": run.traceparent[3:35],
        "created_at": moment(run.created_at),
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
    }
    if steps is None:
        return found
    shown = {state.value: (counts or {}).get(state.value, 0) for state in StepState}
    return found | {
        "input": raw(given),
        "counts": shown,
        "steps": steps,
        "next_cursor": cursor,
        "has_more": cursor is not None,
    }


def step_body(row: Any, step: Step) -> Body:
    return {
        "name": step.name,
        "tool": step.tool,
        "state": row["state"],
        "reason": row["reason"],
        "job_id": row["job_id"],
        "job_state": row["job_state"],
        "after": [{"step": edge.step, "policy": edge.policy.value} for edge in step.edges],
        "items": None
        if step.for_each is None
        else {"total": row["total"], "done": (row["total"] or 0) - row["open"], "failed": row["bad"]},
        "error": raw(row["error"] or row["job_error"]),
        "started_at": _moment(row["started_at"]),
        "finished_at": _moment(row["finished_at"]),
    }


def item_body(row: Any) -> Body:
    return {
        "index": row["n"],
        "state": row["state"],
        "reason": row["reason"],
        "item": raw(row["value"]),
        "job_id": row["job_id"],
        "job_state": row["job_state"],
        "error": raw(row["error"] or row["job_error"]),
        "started_at": _moment(row["started_at"]),
        "finished_at": _moment(row["finished_at"]),
    }
