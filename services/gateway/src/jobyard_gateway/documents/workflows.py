"""Shapes of workflows and their runs for OpenAPI."""

from __future__ import annotations

from jobyard_common.contracts.workflows import MAX_STEPS, Policy

from jobyard_gateway.documents.shapes import FREE, OBJECT, TEXT, TEXTS, TIME, WHOLE, Doc, optional, record, ref
from jobyard_gateway.documents.shapes import page as page_of

STEP_STATES = ["waiting", "due", "active", "succeeded", "failed", "cancelled", "expired", "skipped"]
RUN_STATES = ["starting", "running", "cancelling", "succeeded", "failed", "cancelled"]
_POLICY: Doc = {
    "enum": [policy.value for policy in Policy],
    "description": "What this step does if the other did not succeed: fail, be skipped, run unless it was skipped, "
    "run always.",
}
_EDGE = record({"step": TEXT, "policy": _POLICY}, required=["step"])
_SECONDS: Doc = {"type": "number", "exclusiveMinimum": 0}
_STEP = record(
    {
        "name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$"},
        "tool": {"type": "string", "description": "name or name@version, pinned when the step begins."},
        "parameters": {"type": "object", "description": "May hold references such as ${steps.a.result.x}."},
        "files": {"type": "object", "additionalProperties": TEXT, "description": "File ids, or references to them."},
        "after": {"type": "array", "items": {"anyOf": [TEXT, _EDGE]}},
        "for_each": {
            "anyOf": [{"type": "array", "items": FREE}, TEXT, {"type": "null"}],
            "description": "A list, or one reference to a list: one job for each item, as ${item} and ${index}.",
        },
        "queue": optional(TEXT),
        "priority": optional({"type": "integer", "minimum": 1, "maximum": 10}),
        "delay_s": optional({"type": "number", "minimum": 0}),
        "ttl_s": optional(_SECONDS),
        "timeout_s": optional(_SECONDS),
        "soft_timeout_s": optional(_SECONDS),
        "retry": optional(OBJECT),
        "fairness_key": optional(TEXT),
        "concurrency_key": optional(TEXT),
        "tags": TEXTS,
        "metadata": OBJECT,
    },
    required=["name", "tool"],
)
_STEPS: Doc = {"type": "array", "items": _STEP, "minItems": 1, "maxItems": MAX_STEPS}
_GRAPH: dict[str, Doc] = {
    "steps": _STEPS,
    "input": {"type": "object", "description": "Defaults of the run's input."},
}
_HEAD: dict[str, Doc] = {
    "id": TEXT,
    "name": TEXT,
    "version": WHOLE,
    "description": TEXT,
    "steps_total": WHOLE,
    "actor": OBJECT,
    "created_at": TIME,
}
_ERROR = optional(record({"code": TEXT, "message": TEXT}))
_TIMES: dict[str, Doc] = {"started_at": optional(TIME), "finished_at": optional(TIME)}
_JOB: dict[str, Doc] = {"job_id": optional(TEXT), "job_state": optional(TEXT)}
_SHOWN_STEP = record(
    {
        "name": TEXT,
        "tool": TEXT,
        "state": {"enum": STEP_STATES},
        "reason": optional(TEXT),
        **_JOB,
        "after": {"type": "array", "items": _EDGE},
        "items": optional(record({"total": optional(WHOLE), "done": WHOLE, "failed": WHOLE})),
        "error": _ERROR,
        **_TIMES,
    }
)
_ITEM = record(
    {
        "index": WHOLE,
        "state": {"enum": STEP_STATES},
        "reason": optional(TEXT),
        "item": FREE,
        **_JOB,
        "error": _ERROR,
        **_TIMES,
    }
)
_RUN: dict[str, Doc] = {
    "id": TEXT,
    "workflow_id": optional(TEXT),
    "name": TEXT,
    "version": optional(WHOLE),
    "state": {"enum": ["accepted", *RUN_STATES]},
    "error": _ERROR,
    "progress": record({"steps": WHOLE, "steps_done": WHOLE, "jobs": WHOLE, "jobs_done": WHOLE}),
    "origin_id": optional(TEXT),
    "actor": OBJECT,
    "correlation_id": TEXT,
    "trace_id": TEXT,
    "created_at": TIME,
    **_TIMES,
    "links": record({"self": TEXT, "jobs": TEXT}),
}
_MORE: dict[str, Doc] = {
    "input": OBJECT,
    "counts": record(dict.fromkeys(STEP_STATES, WHOLE)),
    "steps": {"type": "array", "items": _SHOWN_STEP},
    "next_cursor": optional(TEXT),
    "has_more": {"type": "boolean"},
}
_INPUT: dict[str, Doc] = {"input": optional(OBJECT)}
SCHEMAS: dict[str, Doc] = {
    "NewWorkflow": record({"name": TEXT, "description": TEXT, **_GRAPH}, required=["name", "steps"]),
    "Workflow": record({**_HEAD, **_GRAPH}, required=list(_HEAD)),
    "WorkflowPage": page_of(ref("Workflow")),
    "WorkflowGraph": record(_GRAPH, required=["steps"]),
    "NewWorkflowRun": record(
        {
            "workflow": {"type": "string", "description": "An id, a name, or name@version. This or a graph."},
            "graph": ref("WorkflowGraph"),
            "name": TEXT,
            "input": OBJECT,
        },
        required=[],
    ),
    "WorkflowRun": record({**_RUN, **_MORE}, required=list(_RUN)),
    "WorkflowRunPage": page_of(ref("WorkflowRun")),
    "WorkflowStepItems": record(
        {
            **_SHOWN_STEP["properties"],
            "data": {"type": "array", "items": _ITEM},
            "next_cursor": optional(TEXT),
            "has_more": {"type": "boolean"},
        }
    ),
    "WorkflowRetry": record({"steps": TEXTS, **_INPUT}, required=[]),
    "WorkflowReplay": record(_INPUT, required=[]),
}
