"""What no worker would tell: loops that stand still, tasks that do not end, workers that missed a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from jobyard_executor.domain.assignment import StopReason, Verdict
from jobyard_executor.outbound.runner.record import Record
from jobyard_executor.outbound.runner.workers import Worker, Workers
from jobyard_executor.worker import failures
from jobyard_executor.worker.messages import Ended, Fault

if TYPE_CHECKING:
    from jobyard_executor.outbound.runner.crew import Crew

EVERY_S = 0.5
SILENT_S = 5.0
"""A loop that has not answered for so long stands still."""
ZOMBIE_S = 4.0
"""How long a task may live on after its attempt was ended, which was one second after its cancellation."""
FAREWELL_S = 10.0
"""How long the neighbours of a stuck task have to end."""
LATE_S: Mapping[str, float] = {"async": 1.5, "process": 8.0, "command": 8.0}
"""When a worker has missed a hard limit: an async worker says so after one second, a slot after its sweep."""


class Conclude(Protocol):
    def __call__(self, record: Record, ended: Ended) -> None: ...


class Watch:
    def __init__(self, workers: Workers, *, records: Mapping[int, Record], conclude: Conclude, crew: Crew) -> None:
        self._workers = workers
        self._records = records
        self._conclude = conclude
        self._crew = crew
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def verdict_of_loss(self, record: Record, worker: Worker) -> tuple[Verdict, Fault]:
        """How an attempt ends whose worker is gone."""
        if record.stop is not None:
            return stopped_here(record)
        if overdue_s(record, time.monotonic()) > 0:
            return Verdict.TIMEOUT, failures.timed_out(record.assignment.timeout_s)
        if worker.retire_at is not None:
            message = "its worker was replaced because of another job; it will run again"
            return Verdict.INTERRUPTED, Fault("interrupted", message)
        if worker.pid is None:
            return Verdict.INTERRUPTED, Fault("interrupted", "its worker could not be started; it will run again")
        return Verdict.WORKER_LOST, Fault("worker_lost", "the worker process that ran the job is gone")

    def _tick(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.running or worker.retire_at is not None or worker.zombies:
                self._look_at(worker, now)
        self.start()

    def _look_at(self, worker: Worker, now: float) -> None:
        for record in list(worker.running.values()):
            if self._missed(record, now):
                self._end_missed(record, worker, now)
        if worker.kind == "async":
            self._judge_loop(worker, now)
        if worker.retire_at is not None and (now >= worker.retire_at or not worker.running):
            worker.retire_at = now
            worker.kill()

    def _missed(self, record: Record, now: float) -> bool:
        """Whether the worker should long have ended this attempt."""
        late_s = LATE_S[record.isolation]
        if overdue_s(record, now) > late_s:
            return True
        if record.stopped_at is None:
            return False
        grace_s = 0.0 if record.stop is StopReason.REVOKED else failures.CANCEL_GRACE_S
        return now - max(record.stopped_at, record.sent or 0.0) > grace_s + late_s

    def _end_missed(self, record: Record, worker: Worker, now: float) -> None:
        if record.isolation == "async":
            self._strike(record, worker, now)
        else:
            worker.kill()
        verdict, fault = self.verdict_of_loss(record, worker)
        worker.running.pop(record.handle, None)
        record.worker = None
        self._conclude(record, record.ended_here(verdict, fault))

    def _strike(self, record: Record, worker: Worker, now: float) -> None:
        self._workers.strike((record.assignment.tool, record.assignment.version))
        self._crew.retire(worker, at=now + FAREWELL_S)

    def _judge_loop(self, worker: Worker, now: float) -> None:
        for handle, (since, tool) in list(worker.zombies.items()):
            if now - since > ZOMBIE_S:
                del worker.zombies[handle]
                self._workers.strike(tool)
                self._crew.retire(worker, at=now + FAREWELL_S)
        if worker.running and now - worker.heard > SILENT_S:
            self._crew.retire(worker, at=now + FAREWELL_S)


def overdue_s(record: Record, now: float) -> float:
    """Seconds past the hard limit; negative before it."""
    return now - record.sent - record.assignment.timeout_s if record.sent is not None else -1.0


def stopped_here(record: Record) -> tuple[Verdict, Fault]:
    """How an attempt ends that was asked to stop and did not succeed."""
    reason = record.stop or StopReason.INTERRUPT
    verdict, fault = failures.stopped(reason.value)
    return Verdict(verdict), fault
