"""The shapes of the API for OpenAPI: what can't be read off the code is written here, once."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.jobs import JobState, Reason

from jobyard_gateway.documents import events, operations, queues, schedules, workflows
from jobyard_gateway.documents.shapes import (
    FREE,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
    TIME,
    WHOLE,
    Doc,
    header,
    optional,
    page,
    query,
    record,
    ref,
)
from jobyard_gateway.domain.submission import Submission

JOB_FILTERS = [
    query("state", {"type": "array", "items": {"enum": [s.value for s in JobState]}}, "Any of these states."),
    query("tool", TEXTS, "Any of these tools."),
    query("queue", TEXTS, "Any of these queues."),
    query("tag", TEXTS, "All of these tags."),
    query("metadata.K", TEXT, "Jobs whose metadata member K has this value; replace K by the name."),
    query("correlation_id", TEXT, "Jobs of one correlation id."),
    query("created_after", TIME, "Inclusive."),
    query("created_before", TIME, "Exclusive."),
    query("parent_id", TEXT, "Children of a job."),
    query("schedule_id", TEXT, "Jobs that a schedule made."),
    query("workflow_id", TEXT, "Jobs of a workflow run."),
]
PAGING = [
    query("limit", {"type": "integer", "minimum": 1, "maximum": 200}, "Rows of a page."),
    query("cursor", TEXT, "`next_cursor` of the page before."),
]
COUNT = [query("count", {"enum": ["exact", "estimate"]}, "Adds `count`; exact stops at 10,000.")]
MIN_VERSION = [query("min_version", WHOLE, "Wait up to 2 s until the job has this version.")]
TUS = [
    header("Tus-Resumable", "1.0.0"),
    header("Upload-Length", "Bytes of the whole file."),
    header("Upload-Offset", "Where these bytes begin."),
    header("Upload-Metadata", "`filename` and `filetype`, Base64."),
]
SUBMIT_HEADERS = [
    header("Idempotency-Key", "1 to 255 visible ASCII characters; the same key means the same job."),
    header("Prefer", "`wait=N` (1 to 60): answer 200 with the job once it has ended, or 202 when the time is over."),
    header("X-Correlation-Id", "Kept if it matches [A-Za-z0-9._-]{1,64}."),
    header("traceparent", "Continued: the job is part of the caller's trace."),
]

_PROGRESS = record({"done": NUMBER, "total": optional(NUMBER), "note": optional(TEXT), "at": TIME})
_ERROR = record(
    {
        "code": TEXT,
        "message": TEXT,
        "type": optional(TEXT),
        "detail": optional(TEXT),
        "retryable": {"type": "boolean"},
        "attempt": WHOLE,
    }
)
_JOB = record(
    {
        "id": TEXT,
        "tool": TEXT,
        "tool_version": TEXT,
        "state": {"enum": [s.value for s in JobState]},
        "reason": optional({"enum": [r.value for r in Reason]}),
        "dead": {"type": "boolean"},
        "version": WHOLE,
        "queue": TEXT,
        "priority": {"type": "integer", "minimum": 1, "maximum": 10},
        "parameters": OBJECT,
        "files": {"type": "object", "additionalProperties": TEXT},
        "attempt": WHOLE,
        "max_attempts": WHOLE,
        "progress": optional(ref("Progress")),
        "error": optional(ref("JobError")),
        "tags": TEXTS,
        "metadata": OBJECT,
        "created_at": TIME,
        "run_at": optional(TIME),
        "queued_at": optional(TIME),
        "started_at": optional(TIME),
        "finished_at": optional(TIME),
        "wait_ms": optional(WHOLE),
        "run_ms": optional(WHOLE),
        "worker": optional(TEXT),
        "correlation_id": TEXT,
        "trace_id": TEXT,
        "parent_id": optional(TEXT),
        "origin_id": optional(TEXT),
        "workflow_id": optional(TEXT),
        "schedule_id": optional(TEXT),
        "links": record({"self": TEXT, "result": TEXT, "logs": TEXT, "events": TEXT, "trace": TEXT}),
    }
)
_JOB["properties"] |= {
    "duplicate_of": {**TEXT, "description": "Of a superseded job: the one that has its dedupe key."},
    "cached_from": {**TEXT, "description": "Of a job that did not run: the one whose result it was given."},
}
_FILE_OF_RESULT = record(
    {"file_id": TEXT, "name": TEXT, "size": WHOLE, "sha256": TEXT, "content_type": TEXT, "url": TEXT}
)
_PROBLEM = record(
    {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "instance": TEXT,
        "code": TEXT,
        "errors": {"type": "array", "items": record({"pointer": TEXT, "message": TEXT})},
        "trace_id": TEXT,
        "correlation_id": TEXT,
        "retryable": {"type": "boolean"},
    }
)
_TOOL = record(
    {
        "name": TEXT,
        "version": TEXT,
        "title": TEXT,
        "description": TEXT,
        "parameters_schema": OBJECT,
        "queue": TEXT,
        "isolation": {"enum": ["async", "process", "command"]},
        "defaults": OBJECT,
        "limits": OBJECT,
        "slots": OBJECT,
        "examples": {"type": "array", "items": FREE},
        "cache_ttl_s": optional(NUMBER),
        "batch": optional(OBJECT),
        "workers": WHOLE,
    }
)
_LINE = record(
    {
        "seq": WHOLE,
        "at": TIME,
        "attempt": WHOLE,
        "stream": {"enum": ["stdout", "stderr", "log"]},
        "level": optional(TEXT),
        "message": TEXT,
        "fields": optional(OBJECT),
    }
)
_ROW = record(
    {
        "seq": WHOLE,
        "at": TIME,
        "type": TEXT,
        "state": optional(TEXT),
        "reason": optional(TEXT),
        "attempt": WHOLE,
        "actor": OBJECT,
        "data": FREE,
    }
)
_FILE = record({"id": TEXT, "name": TEXT, "size": WHOLE, "sha256": optional(TEXT)})
_TENANT = record({"id": TEXT, "name": TEXT, "created_at": TIME})
_KEY = {
    "id": TEXT,
    "tenant_id": TEXT,
    "name": TEXT,
    "role": TEXT,
    "scopes": TEXTS,
    "created_at": TIME,
    "created_by": TEXT,
    "expires_at": optional(TIME),
}
_BATCH_ITEM = record({"index": WHOLE, "job_id": TEXT, "problem": ref("Problem")}, required=["index"])


def submit_schema() -> Doc:
    """The submit as one schema; its references point into `$defs` of the AsyncAPI component."""
    shapes = _submit_shapes("#/components/schemas/submit/$defs/{name}")
    return {**shapes.pop("Submission"), "$defs": shapes}


def _submit_shapes(template: str) -> dict[str, Doc]:
    _, shapes = msgspec.json.schema_components([Submission], ref_template=template)
    shapes["Submission"]["properties"]["parameters"] = OBJECT
    shapes["Submission"]["properties"]["metadata"] = {"type": "object", "maxProperties": 50}
    queue = shapes["Submission"]["properties"]["queue"]["anyOf"][0]
    queue["pattern"] = queue["pattern"].replace("\\Z", "$")
    return shapes


def components() -> dict[str, Doc]:
    """Every schema by name; those of requests come from the types that check them."""
    return {
        **_submit_shapes("#/components/schemas/{name}"),
        **events.SCHEMAS,
        **operations.SCHEMAS,
        **queues.SCHEMAS,
        **schedules.SCHEMAS,
        **workflows.SCHEMAS,
        "Any": FREE,
        "Problem": _PROBLEM,
        "Progress": _PROGRESS,
        "JobError": _ERROR,
        "Job": _JOB,
        "JobPage": page(ref("Job")),
        "Counts": record(
            {
                "counts": {"type": "object", "additionalProperties": WHOLE},
                "capped": {"type": "array", "items": {"enum": [s.value for s in JobState]}},
            }
        ),
        "Result": record(
            {
                "job_id": TEXT,
                "attempt": WHOLE,
                "state": TEXT,
                "value": FREE,
                "return_code": optional(WHOLE),
                "stdout": TEXT,
                "stderr": TEXT,
                "truncated": {"type": "boolean"},
                "files": {"type": "array", "items": _FILE_OF_RESULT},
                "error": optional(ref("JobError")),
                "run_ms": optional(WHOLE),
                "duplicate_of": TEXT,
                "cached_from": TEXT,
            },
            required=[
                "job_id",
                "attempt",
                "state",
                "value",
                "return_code",
                "stdout",
                "stderr",
                "truncated",
                "files",
                "error",
                "run_ms",
            ],
        ),
        "AttemptPage": page(OBJECT),
        "LifecyclePage": page(_ROW),
        "LogPage": page(_LINE),
        "Page": page(OBJECT),
        "Explanation": record(
            {"state": TEXT, "reason": optional(TEXT), "since": TIME, "waiting_for": {"type": "array", "items": OBJECT}}
        ),
        "Trace": record({"trace_id": TEXT, "correlation_id": TEXT, "url": optional(TEXT)}),
        "Replay": record({"parameters": OBJECT}, required=[]),
        "Reschedule": record({"run_at": TIME, "delay_s": NUMBER}, required=[]),
        "Batch": record({"items": {"type": "array", "maxItems": 1000, "items": ref("Submission")}}),
        "BatchAnswer": record(
            {"id": TEXT, "accepted": WHOLE, "rejected": WHOLE, "items": {"type": "array", "items": _BATCH_ITEM}}
        ),
        "Tool": _TOOL,
        "ToolPage": page(ref("Tool")),
        "Validate": record({"parameters": OBJECT, "files": OBJECT}, required=[]),
        "Valid": record({"valid": {"type": "boolean"}}),
        "File": _FILE,
        "FilePage": page(ref("File")),
        "Tenant": _TENANT,
        "TenantPage": page(ref("Tenant")),
        "NewTenant": record({"name": TEXT}),
        "NewApiKey": record(
            {"name": TEXT, "tenant_id": TEXT, "role": TEXT, "scopes": TEXTS, "expires_at": TIME}, required=["name"]
        ),
        "ApiKeyPage": page(record(_KEY)),
        "NewApiKeyAnswer": record({**_KEY, "key": TEXT}),
    }
