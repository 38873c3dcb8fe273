"""Shapes of bulk operations and dead letters for OpenAPI."""

from __future__ import annotations

from jobyard_common.contracts.operations import BulkAction, BulkState, LetterState

from jobyard_gateway.documents.shapes import NUMBER, OBJECT, TEXT, TEXTS, TIME, WHOLE, Doc, optional, page, record, ref

_FLAG: Doc = {"type": "boolean"}
_ACTION: Doc = {"enum": [one.value for one in BulkAction]}
_LETTER_STATE: Doc = {"enum": [one.value for one in LetterState]}
_FILTER: Doc = {
    "type": "object",
    "description": "Members of the job list's query: state, tool, queue, tag, metadata, correlation_id, …",
}
_HANDLED = {"action": _LETTER_STATE, "note": optional(TEXT), "by": OBJECT, "at": TIME}
SCHEMAS: dict[str, Doc] = {
    "NewBulkOperation": record(
        {
            "action": _ACTION,
            "filter": _FILTER,
            "ids": {**TEXTS, "maxItems": 10_000},
            "dead": {**_FLAG, "description": "Only open dead letters among what the filter finds."},
            "rate_per_s": NUMBER,
            "run_at": {**TIME, "description": "For reschedule."},
            "note": TEXT,
            "dry_run": {**_FLAG, "description": "Answer 200 with a count and a sample, and change nothing."},
        },
        required=["action"],
    ),
    "BulkOperation": record(
        {
            "id": TEXT,
            "action": _ACTION,
            "state": {"enum": [one.value for one in BulkState]},
            "filter": optional({"type": "array", "items": TEXTS}),
            "ids": optional(WHOLE),
            "dead": _FLAG,
            "run_at": optional(TIME),
            "waits_for": {**optional(TEXT), "description": "Why it makes no more jobs for the moment."},
            "rate_per_s": optional(NUMBER),
            "note": optional(TEXT),
            "matched": {**WHOLE, "description": "Jobs at the start, at most 10,000 counted; in the end, all."},
            "matched_capped": _FLAG,
            "seen": WHOLE,
            "done": WHOLE,
            "refused": {"type": "object", "additionalProperties": WHOLE},
            "refused_sample": {"type": "array", "items": record({"job_id": TEXT, "code": TEXT})},
            "created_at": TIME,
            "created_by": OBJECT,
            "finished_at": optional(TIME),
        }
    ),
    "BulkOperationPage": page(ref("BulkOperation")),
    "DeadLetter": record(
        {
            "id": TEXT,
            "state": _LETTER_STATE,
            "handled": optional(record({**_HANDLED, "new_job_id": optional(TEXT)})),
            "job": OBJECT,
        }
    ),
    "DeadLetterPage": page(ref("DeadLetter")),
    "ReplayLetter": record({"parameters": OBJECT, "note": TEXT}, required=[]),
    "Discard": record({"note": TEXT}, required=[]),
    "ReplayMessage": record({"value": TEXT, "note": TEXT, "force": _FLAG}, required=[]),
    "DeadMessage": record(
        {
            "id": TEXT,
            "state": _LETTER_STATE,
            "topic": TEXT,
            "partition": optional(WHOLE),
            "offset": optional(WHOLE),
            "reason": TEXT,
            "message": TEXT,
            "group": TEXT,
            "failed_at": TEXT,
            "replays": WHOLE,
            "key": optional(TEXT),
            "key_encoding": optional(TEXT),
            "value": optional(TEXT),
            "value_encoding": optional(TEXT),
            "value_bytes": optional(WHOLE),
            "truncated": _FLAG,
            "headers": {"type": "array", "items": OBJECT},
            "handled": optional(record({**_HANDLED, "edited": _FLAG})),
        }
    ),
    "DeadMessagePage": page(ref("DeadMessage")),
}
