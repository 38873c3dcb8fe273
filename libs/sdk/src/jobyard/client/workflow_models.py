"""Workflows and runs as the client sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class StoredWorkflow(msgspec.Struct, frozen=True):
    """One version of a workflow. A list leaves `steps` out; `document` is the answer as it came."""

    id: str
    name: str
    version: int
    steps_total: int
    description: str = ""
    steps: list[dict[str, Any]] = []
    input: dict[str, Any] = {}
    created_at: datetime | None = None
    document: dict[str, Any] = {}


class RunProgress(msgspec.Struct, frozen=True):
    steps: int = 0
    steps_done: int = 0
    jobs: int = 0
    jobs_done: int = 0


class RunError(msgspec.Struct, frozen=True):
    code: str
    message: str


class RunStep(msgspec.Struct, frozen=True):
    """`items` counts the jobs of a fan-out: total, done, failed."""

    name: str
    tool: str
    state: str
    reason: str | None = None
    job_id: str | None = None
    job_state: str | None = None
    items: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Run(msgspec.Struct, frozen=True):
    """`state`: accepted, starting, running, cancelling, succeeded, failed or cancelled."""

    id: str
    state: str
    name: str = ""
    workflow_id: str | None = None
    version: int | None = None
    error: RunError | None = None
    progress: RunProgress = RunProgress()
    counts: dict[str, int] = {}
    input: dict[str, Any] = {}
    origin_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    document: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        return self.state in ENDED
