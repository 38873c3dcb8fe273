"""One assignment on its way, and the outcome it becomes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from jobyard_executor.domain.assignment import (
    SEQ_PER_ATTEMPT,
    Assignment,
    Failure,
    Outcome,
    Output,
    OutputBatch,
    OutputFile,
    StopReason,
    Verdict,
)
from jobyard_executor.domain.child import ChildJob
from jobyard_executor.worker.messages import Ended, Fault, Line, Start

if TYPE_CHECKING:
    import asyncio

    from jobyard_executor.outbound.runner.workers import Worker

Key = tuple[str, int]
NULL = msgspec.Raw(b"null")


@dataclass(slots=True, eq=False)
class Record:
    """Monotonic times: `created`, `sent` (to its worker), `stopped_at` (first stop request)."""

    assignment: Assignment
    handle: int
    isolation: str
    work_dir: str
    created: float
    staged: bool = False
    worker: Worker | None = None
    task: asyncio.Task[None] | None = None
    sent: float | None = None
    stop: StopReason | None = None
    stopped_at: float | None = None
    last_n: int = 0

    @property
    def key(self) -> Key:
        return self.assignment.job_id, self.assignment.fence

    def start(self, *, own_user: bool = False) -> Start:
        assignment = self.assignment
        deadline = time.time() + assignment.timeout_s
        if assignment.deadline_at is not None:
            deadline = min(deadline, assignment.deadline_at.timestamp())
        return Start(
            self.handle,
            assignment.job_id,
            assignment.attempt,
            assignment.fence,
            assignment.tool,
            assignment.version,
            bytes(assignment.parameters),
            assignment.timeout_s,
            assignment.soft_timeout_s,
            deadline,
            self.work_dir,
            self.staged,
            assignment.traceparent,
            assignment.correlation_id,
            assignment.tenant,
            own_user,
        )

    def seq(self, n: int) -> int:
        return self.assignment.attempt * SEQ_PER_ATTEMPT + n

    def batch(self, lines: list[Line], *, late: bool = False) -> OutputBatch:
        if lines:
            self.last_n = max(self.last_n, lines[-1].n)
        base = self.assignment.attempt * SEQ_PER_ATTEMPT
        outputs = tuple(
            Output(
                base + line.n,
                datetime.fromtimestamp(line.at, UTC),
                line.stream,
                line.message,
                line.level,
                msgspec.Raw(line.fields) if line.fields is not None else None,
                late,
            )
            for line in lines
        )
        assignment = self.assignment
        return OutputBatch(assignment.job_id, assignment.tenant, assignment.attempt, assignment.fence, outputs)

    def outcome(self, ended: Ended, *, files: tuple[OutputFile, ...] = ()) -> Outcome:
        assignment = self.assignment
        verdict = Verdict(ended.verdict)
        return Outcome(
            assignment.job_id,
            assignment.attempt,
            assignment.fence,
            verdict,
            datetime.fromtimestamp(ended.started, UTC),
            datetime.fromtimestamp(ended.started + ended.run_s, UTC),
            int(ended.run_s * 1000),
            msgspec.Raw(ended.value) if verdict is Verdict.SUCCEEDED else NULL,
            _failure(ended.fault),
            ended.return_code,
            ended.stdout,
            ended.stderr,
            ended.truncated,
            files,
            self.seq(self.last_n) if self.last_n else 0,
            tuple(ChildJob(key, msgspec.Raw(body)) for key, body in ended.children),
        )

    def ended_here(self, verdict: Verdict, fault: Fault) -> Ended:
        """An end that no worker told."""
        now = time.time()
        run_s = time.monotonic() - self.sent if self.sent is not None else 0.0
        return Ended(self.handle, verdict.value, now - run_s, run_s, b"null", fault, None, "", "", False, self.last_n)


def _failure(fault: Fault | None) -> Failure | None:
    if fault is None:
        return None
    return Failure(fault.code, fault.message, fault.type, fault.detail, fault.retryable, fault.retry_after_s)
