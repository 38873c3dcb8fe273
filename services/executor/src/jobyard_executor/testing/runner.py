"""A runner whose tools are answers in a table: the engine's behaviour without worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from jobyard_executor.domain.assignment import (
    Assignment,
    Failure,
    OnOutcome,
    OnOutput,
    Outcome,
    OutputBatch,
    StopReason,
    Verdict,
)

Script = Callable[[Assignment], "Outcome | None"]
"""Answers at once with an outcome, or None: the attempt then runs until the test ends it."""


def ended(
    assignment: Assignment,
    verdict: Verdict = Verdict.SUCCEEDED,
    *,
    value: bytes = b"null",
    failure: Failure | None = None,
    stdout: str = "",
) -> Outcome:
    """An outcome of `assignment` as a worker would report it."""
    now = datetime.now(UTC)
    return Outcome(
        job_id=assignment.job_id,
        attempt=assignment.attempt,
        fence=assignment.fence,
        verdict=verdict,
        started_at=now,
        finished_at=now,
        run_ms=0,
        value=msgspec.Raw(value),
        failure=failure,
        stdout=stdout,
    )


class ScriptedRunner:
    """Keeps the contract of `Runner`: one outcome for each assignment, on the event loop, whatever happens."""

    def __init__(self, script: Script = ended, *, slots: Mapping[str, int] | None = None) -> None:
        self.script = script
        self.slots = dict(slots or {"async": 256, "process": 2, "command": 2})
        self.assignments: list[Assignment] = []
        self.stopped: list[tuple[str, int, StopReason]] = []
        self._running: dict[tuple[str, int], Assignment] = {}
        self._isolation: dict[tuple[str, int], str] = {}
        self._on_outcome: OnOutcome | None = None
        self._on_output: OnOutput | None = None

    async def start(self, *, on_outcome: OnOutcome, on_output: OnOutput) -> None:
        self._on_outcome, self._on_output = on_outcome, on_output

    def free(self) -> Mapping[str, int]:
        used: dict[str, int] = {}
        for isolation in self._isolation.values():
            used[isolation] = used.get(isolation, 0) + 1
        return {isolation: slots - used.get(isolation, 0) for isolation, slots in self.slots.items()}

    def levels(self) -> frozenset[str]:
        return frozenset({"L0", "L1"})

    def dispatch(self, assignments: Sequence[Assignment]) -> None:
        self.assignments += assignments
        for assignment in assignments:
            key = (assignment.job_id, assignment.fence)
            self._running[key] = assignment
            self._isolation[key] = self._isolation_of(assignment)
        asyncio.get_running_loop().call_soon(self._run, list(assignments))

    def _isolation_of(self, assignment: Assignment) -> str:
        suffix = assignment.tool.rpartition(".")[2]
        return suffix if suffix in self.slots else "async"

    def _run(self, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            outcome = self.script(assignment)
            if outcome is not None:
                self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        """Report an outcome."""
        self.forget(outcome.job_id, outcome.fence)
        assert self._on_outcome is not None
        self._on_outcome(outcome)

    def forget(self, job_id: str, fence: int) -> None:
        """Lose an attempt without a word, as a runner never should."""
        self._running.pop((job_id, fence), None)
        self._isolation.pop((job_id, fence), None)

    def say(self, batch: OutputBatch) -> None:
        assert self._on_output is not None
        self._on_output([batch])

    def stop_job(self, job_id: str, fence: int, *, reason: StopReason) -> None:
        self.stopped.append((job_id, fence, reason))
        assignment = self._running.get((job_id, fence))
        if assignment is not None:
            self.end(ended(assignment, Verdict.CANCELLED))

    def running(self) -> frozenset[tuple[str, int]]:
        return frozenset(self._running)

    async def drain(self, *, grace_s: float) -> None:
        for assignment in list(self._running.values()):
            self.end(ended(assignment, Verdict.INTERRUPTED))

    async def stop(self) -> None:
        self._running.clear()
