"""Shapes of schedules for OpenAPI."""

from __future__ import annotations

from jobyard_common.contracts.schedules import CatchUp, Overlap

from jobyard_gateway.documents.shapes import OBJECT, TEXT, TIME, WHOLE, Doc, optional, page, record, ref

_OVERLAP: Doc = {"enum": [one.value for one in Overlap]}
_TIMING: dict[str, Doc] = {
    "cron": optional({"type": "string", "description": "Five fields, or a name such as @daily."}),
    "timezone": optional({"type": "string", "description": "Of cron; an IANA name. UTC if not given."}),
    "interval_s": optional({"type": "number", "minimum": 1}),
    "at": optional(TIME),
    "overlap": _OVERLAP,
    "catch_up": {"enum": [one.value for one in CatchUp]},
    "starts_at": optional(TIME),
    "ends_at": optional(TIME),
    "jitter_s": {"type": "number", "minimum": 0, "maximum": 86_400},
    "paused": {"type": "boolean"},
}
_FIRE = record(
    {
        "fire_at": TIME,
        "kind": {"enum": ["timer", "catch_up", "trigger", "backfill"]},
        "outcome": {"enum": ["started", "skipped", "waiting", "missed"]},
        "reason": optional(TEXT),
        "until": optional(TIME),
        "recorded_at": TIME,
        "job_id": optional(TEXT),
        "job_state": optional(TEXT),
        "job_reason": optional(TEXT),
    }
)
_LAST = record({"fire_at": TIME, "outcome": TEXT, "job_id": optional(TEXT)})
SCHEMAS: dict[str, Doc] = {
    "NewSchedule": record({"name": TEXT, "template": ref("Submission"), **_TIMING}, required=["name", "template"]),
    "Schedule": record(
        {
            "id": TEXT,
            "name": TEXT,
            "state": {"enum": ["active", "paused", "ended"]},
            "version": WHOLE,
            "tool": TEXT,
            "tool_version": TEXT,
            "template": OBJECT,
            **_TIMING,
            "next_fires": {"type": "array", "items": TIME},
            "last_fire": optional(_LAST),
            "created_at": TIME,
            "created_by": TEXT,
            "changed_at": TIME,
        }
    ),
    "SchedulePage": page(ref("Schedule")),
    "Fire": _FIRE,
    "FirePage": page(ref("Fire")),
    "Trigger": record({"overlap": _OVERLAP}, required=[]),
    "Backfill": record(
        {"since": TIME, "until": TIME, "overlap": _OVERLAP, "dry_run": {"type": "boolean"}}, required=["since", "until"]
    ),
    "BackfillAnswer": record(
        {
            "count": WHOLE,
            "already": WHOLE,
            "dry_run": {"type": "boolean"},
            "fires": {"type": "array", "items": TIME, "description": "The first 100."},
        }
    ),
}
