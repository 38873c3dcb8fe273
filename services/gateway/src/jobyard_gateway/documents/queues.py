"""Shapes of queues, limits, routes and workers for OpenAPI."""

from __future__ import annotations

from jobyard_gateway.documents.shapes import NUMBER, TEXT, TEXTS, TIME, WHOLE, Doc, optional, page, record, ref

_YES: Doc = {"type": "boolean"}
_WEIGHT: Doc = {"type": "number", "minimum": 0.001, "maximum": 1000}
_CONCURRENCY: Doc = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_RATE = record(
    {
        "count": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "per_s": {"type": "number", "minimum": 0.001, "maximum": 86_400, "default": 1},
        "burst": optional({"type": "integer", "minimum": 1, "maximum": 1_000_000}),
    },
    required=["count"],
)
_QUEUE_LIMITS: dict[str, Doc] = {
    "concurrency": optional(_CONCURRENCY),
    "rate": optional(ref("Rate")),
    "max_waiting": optional(WHOLE),
}
_JOB = record({"job_id": TEXT, "tool": TEXT, "queue": TEXT, "attempt": WHOLE, "started_at": TIME})
_JOBS: Doc = {"type": "array", "items": _JOB}
_DEPTH = record(dict.fromkeys(("queued", "running", "cancelling", "scheduled", "retry_wait", "blocked"), WHOLE))
_SLOTS: Doc = {"type": "object", "additionalProperties": record({"used": WHOLE, "total": WHOLE})}
_WORKER: dict[str, Doc] = {
    "id": TEXT,
    "instance": TEXT,
    "session": TEXT,
    "host": TEXT,
    "pid": WHOLE,
    "version": TEXT,
    "roles": TEXTS,
    "queues": TEXTS,
    "alive": _YES,
    "draining": _YES,
    "draining_since": optional(TIME),
    "started_at": TIME,
    "beat_at": TIME,
    "tools": TEXTS,
    "levels": TEXTS,
    "slots": _SLOTS,
    "running": WHOLE,
    "jobs": _JOBS,
}
SCHEMAS: dict[str, Doc] = {
    "Rate": _RATE,
    "Queue": record(
        {
            "name": TEXT,
            "paused": _YES,
            "draining": _YES,
            "weight": NUMBER,
            "depth": _DEPTH,
            "depth_capped": _YES,
            "waiting_of_tenant": WHOLE,
            "oldest_age_s": optional(NUMBER),
            "limits": record(_QUEUE_LIMITS),
            "rates": record({"in_per_min": NUMBER, "out_per_min": NUMBER}),
            "changed_at": optional(TIME),
        }
    ),
    "QueuePage": page(ref("Queue")),
    "QueueChange": record(
        {"paused": _YES, "draining": _YES, "weight": _WEIGHT, "limits": record(_QUEUE_LIMITS, required=[])}, required=[]
    ),
    "Route": record({"tool": TEXT, "queue": TEXT, "changed_at": TIME}),
    "RoutePage": page(ref("Route")),
    "NewRoute": record({"queue": TEXT}),
    "NewLimit": record(
        {"concurrency": optional(_CONCURRENCY), "rate": optional(ref("Rate")), "weight": optional(_WEIGHT)}, required=[]
    ),
    "Limit": record(
        {
            "key": TEXT,
            "concurrency": optional(WHOLE),
            "rate": optional(ref("Rate")),
            "weight": optional(NUMBER),
            "declared_by": {"enum": ["operator", "tool", "default"]},
            "running": WHOLE,
            "starts_left": optional(WHOLE),
            "next_start_in_s": optional(NUMBER),
            "changed_at": TIME,
            "holders": _JOBS,
        },
        required=["key", "concurrency", "rate", "weight", "declared_by", "running"],
    ),
    "LimitPage": page(ref("Limit")),
    "Worker": record(_WORKER, required=["id", "instance", "alive", "draining"]),
    "WorkerPage": page(ref("Worker")),
}
