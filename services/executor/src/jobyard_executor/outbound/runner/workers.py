"""The workers alive: async workers with many places, slots with one, and which of them gets the next job."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from jobyard_executor.outbound.runner.link import Link
from jobyard_executor.outbound.runner.record import Record

STRIKES = 3
"""After so many tasks that outlived their hard limit, a tool runs in a worker of its own."""

ToolKey = tuple[str, str]


@dataclass(slots=True, eq=False)
class Worker:
    """`heard` and `retire_at` are monotonic; a retiring worker gets no new work. `zombies` are tasks that outlived
    their attempt, and since when."""

    number: int
    kind: str
    capacity: int
    tool: ToolKey | None = None
    link: Link | None = None
    pid: int | None = None
    pidfd: int | None = None
    running: dict[int, Record] = field(default_factory=dict)
    zombies: dict[int, tuple[float, ToolKey]] = field(default_factory=dict)
    born: float = 0.0
    heard: float = 0.0
    retire_at: float | None = None

    def identify(self, pid: int) -> None:
        self.pid = pid
        with suppress(OSError):
            self.pidfd = os.pidfd_open(pid)

    def kill(self) -> None:
        """SIGKILL, safe against a reused pid; its end is heard through its link, and no work goes to it until then."""
        if self.retire_at is None:
            self.retire_at = 0.0
        if self.pidfd is not None:
            with suppress(OSError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        if self.link is not None:
            self.link.close()

    def forget(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Workers:
    """Who can take what. Numbers are never used again."""

    def __init__(self, *, async_workers: int, async_slots: int, slots: dict[str, int]) -> None:
        self._async_workers = async_workers
        self._async_slots = async_slots
        self._slots = slots
        self._workers: dict[int, Worker] = {}
        self._next = 0
        self._strikes: dict[ToolKey, int] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def new(self, kind: str, *, now: float, tool: ToolKey | None = None) -> Worker:
        self._next += 1
        capacity = self._async_slots if kind == "async" else 1
        worker = Worker(self._next, kind, capacity, tool, born=now, heard=now)
        self._workers[worker.number] = worker
        return worker

    def by_number(self, number: int) -> Worker | None:
        return self._workers.get(number)

    def remove(self, worker: Worker) -> None:
        self._workers.pop(worker.number, None)
        worker.forget()

    def capacity(self, kind: str) -> int:
        return self._async_workers * self._async_slots if kind == "async" else self._slots[kind]

    def lacking(self) -> int:
        """How many shared async workers are missing."""
        alive = sum(1 for w in self if w.kind == "async" and w.tool is None and w.retire_at is None)
        return self._async_workers - alive

    def may_grow(self, kind: str) -> bool:
        return sum(1 for w in self._workers.values() if w.kind == kind and w.retire_at is None) < self._slots[kind]

    def strike(self, tool: ToolKey) -> None:
        self._strikes[tool] = self._strikes.get(tool, 0) + 1

    def apart(self, tool: ToolKey) -> bool:
        """Whether a tool has lost the right to share a worker."""
        return self._strikes.get(tool, 0) >= STRIKES

    def free(self, kind: str, tool: ToolKey) -> Worker | None:
        """The least busy worker that may run `tool`; slots that ran last come first, they are warm."""
        wanted = tool if kind == "async" and self.apart(tool) else None
        best: Worker | None = None
        for worker in self._workers.values():
            if worker.kind != kind or worker.retire_at is not None or worker.tool != wanted:
                continue
            used = len(worker.running)
            if used < worker.capacity and (best is None or used < len(best.running)):
                best = worker
        return best
