"""Shapes of `GET /v1/events`."""

from __future__ import annotations

from jobyard_gateway.documents.shapes import TEXT, TIME, WHOLE, Doc, page, record, ref

SCHEMAS: dict[str, Doc] = {
    "JobChange": record(
        {
            "id": TEXT,
            "type": TEXT,
            "at": TIME,
            "incarnation": WHOLE,
            "event_no": WHOLE,
            "actor": record({"kind": TEXT, "id": TEXT}),
            "job": ref("Job"),
        }
    ),
    "JobChangePage": page(ref("JobChange")),
}
