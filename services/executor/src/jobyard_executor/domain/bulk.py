"""Bulk operations: how large the next step is and when it may be taken. Pure; moments are UTC."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from jobyard_common.contracts.operations import BulkAction, BulkState

MOST = 500
PACE = timedelta(milliseconds=500)
BEHIND = timedelta(seconds=1)
"""How much of a delay is made good: a replica that was away does not burst."""
SAMPLE = 20


class Bulk(msgspec.Struct):
    """A row of `bulk_operation`, in the order of `store.bulk.COLUMNS`.

    `filter` holds the query parameters of a job list as JSON pairs, `seen` counts the items looked at, `cursor_*` is
    the last of them (of `ids`: `seen` is the position).
    """

    id: str
    tenant: str
    action: BulkAction
    filter: str | None
    ids: list[str] | None
    options: str
    rate_per_s: float | None
    state: BulkState
    actor: str
    note: str | None
    correlation_id: str
    traceparent: str
    created_at: datetime
    made_hash: str | None
    matched: int
    matched_capped: bool
    seen: int
    applied: int
    refused: str
    sample: str
    cursor_at: datetime | None
    cursor_id: str | None
    due_at: datetime
    finished_at: datetime | None

    def note_outcomes(self, outcomes: list[tuple[str, str]]) -> None:
        """Count (job, outcome) pairs; refusals by their code, the first of them by name."""
        refused: dict[str, int] = msgspec.json.decode(self.refused)
        sample: list[dict[str, str]] = msgspec.json.decode(self.sample)
        for job_id, outcome in outcomes:
            if outcome == "applied":
                self.applied += 1
                continue
            refused[outcome] = refused.get(outcome, 0) + 1
            if len(sample) < SAMPLE:
                sample.append({"job_id": job_id, "code": outcome})
        self.seen += len(outcomes)
        self.refused, self.sample = msgspec.json.encode(refused).decode(), msgspec.json.encode(sample).decode()

    def end(self, state: BulkState, *, now: datetime) -> None:
        self.state, self.finished_at = state, now
        if state is BulkState.DONE:
            self.matched, self.matched_capped = self.seen, False


def step_size(rate_per_s: float | None) -> int:
    """Items of one step: half a second's worth, at most `MOST`."""
    if rate_per_s is None:
        return MOST
    return max(1, min(MOST, int(rate_per_s * PACE.total_seconds())))


def due_after(bulk: Bulk, items: int, *, now: datetime) -> datetime:
    """When the next step may be taken, so that over time `rate_per_s` is kept."""
    if bulk.rate_per_s is None:
        return now
    return max(bulk.due_at, now - BEHIND) + timedelta(seconds=items / bulk.rate_per_s)
