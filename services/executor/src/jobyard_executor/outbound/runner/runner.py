"""`ProcessRunner`: the Runner that the engine uses."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.assignment import (
    Assignment,
    FilesPort,
    OnOutcome,
    OnOutput,
    OutputBatch,
    OutputFile,
    StopReason,
    Verdict,
)
from jobyard_executor.outbound.runner.crew import Crew
from jobyard_executor.outbound.runner.forge_link import RunnerBroken
from jobyard_executor.outbound.runner.record import Key, Record
from jobyard_executor.outbound.runner.settings import RunnerSettings
from jobyard_executor.outbound.runner.transfers import Transfers
from jobyard_executor.outbound.runner.watch import Watch, stopped_here
from jobyard_executor.outbound.runner.workers import Worker
from jobyard_executor.sandbox.selftest import Proof, prove
from jobyard_executor.worker.messages import Beat, Ended, Fault, Gone, Line, Lines, Message, Stop, ToolInfo
from jobyard_executor.worker.workdir import remove_tree

__all__ = ["ProcessRunner", "RunnerBroken"]

log = get_logger(__name__)

KINDS = ("async", "process", "command")
RECENT = 2000
"""How many ended async attempts are remembered for their late lines."""
END_OF_DRAIN_S = 12.0
OWN_USER = "own_user"
"""Named among the levels of a worker whose command tools have a user each."""


class ProcessRunner:
    """Runs assignments in processes of this machine. Give it a work root of its own."""

    def __init__(self, settings: RunnerSettings, *, port: FilesPort) -> None:
        self._settings = settings
        self._crew = Crew(settings, on_messages=self._heard, on_lost=self._lost, on_room=self._assign_waiting)
        self._records: dict[Key, Record] = {}
        self._by_handle: dict[int, Record] = {}
        self._recent: dict[int, Record] = {}
        self._waiting: dict[str, deque[Record]] = {kind: deque() for kind in KINDS}
        self._levels: frozenset[str] = frozenset()
        self._own_users: frozenset[str] = frozenset()
        self.proof: Proof | None = None
        """What the self-test found, with the reasons against each level that does not hold."""
        self._handle = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._transfers = Transfers(
            port, records=self._records, staged=self._assign, conclude=self._conclude, say=self._say
        )
        self._watch = Watch(self._crew.workers, records=self._by_handle, conclude=self._conclude, crew=self._crew)

    async def start(self, *, on_outcome: OnOutcome, on_output: OnOutput) -> None:
        """Load the tools, prove the sandbox, start the workers. Raises RunnerBroken."""
        self._loop = asyncio.get_running_loop()
        self._on_outcome, self._on_output = on_outcome, on_output
        root = self._settings.work_root
        await asyncio.to_thread(remove_tree, str(root))
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._settings.levels is not None:
            self._levels = self._settings.levels
            self._own_users = self._levels - {"L0"} if self._settings.user_ids[1] else frozenset()
            await self._crew.start()
        else:
            how = self._settings
            proof = asyncio.to_thread(prove, cache=how.proof_file, ids=how.user_ids, cgroup=how.cgroup)
            _, found = await asyncio.gather(self._crew.start(), proof)
            self._levels, self._own_users = found.levels, found.own_users
            self.proof = found
            log.info("sandbox.proven", levels=sorted(self.levels()), faults=dict(found.faults))
        self._watch.start()

    def definitions(self) -> list[bytes]:
        """The definitions of all tools, as JSON, for the registry: user code stays out of this process."""
        return self._crew.definitions

    def free(self) -> Mapping[str, int]:
        if self._draining:
            return dict.fromkeys(KINDS, 0)
        used = dict.fromkeys(KINDS, 0)
        for record in self._records.values():
            if record.worker is not None or record.sent is None:
                used[record.isolation] += 1
        return {kind: max(0, self._crew.workers.capacity(kind) - used[kind]) for kind in KINDS}

    def levels(self) -> frozenset[str]:
        return self._levels | {OWN_USER} if self._own_users else self._levels

    def running(self) -> frozenset[Key]:
        return frozenset(self._records)

    def dispatch(self, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            if (assignment.job_id, assignment.fence) not in self._records:
                self._admit(assignment)

    def stop_job(self, job_id: str, fence: int, *, reason: StopReason) -> None:
        record = self._records.get((job_id, fence))
        if record is None:
            return
        record.stop = record.stop or reason
        if reason is StopReason.REVOKED:
            record.stop = reason
        if record.stopped_at is None:
            record.stopped_at = time.monotonic()
        if record.task is not None:
            record.task.cancel()
        elif record.worker is not None and record.worker.link is not None:
            record.worker.link.post(Stop(record.handle, reason.value))
        else:
            self._loop.call_soon(self._end_waiting, record)

    async def drain(self, *, grace_s: float) -> None:
        self._draining = True
        await self._idle_within(grace_s)
        for job_id, fence in list(self._records):
            self.stop_job(job_id, fence, reason=StopReason.INTERRUPT)
        await self._idle_within(END_OF_DRAIN_S)
        for record in list(self._records.values()):
            self._conclude(record, record.ended_here(*stopped_here(record)))

    async def stop(self) -> None:
        """End everything at once; what still runs has no outcome (its lease tells the others)."""
        self._draining = True
        self._watch.stop()
        self._records.clear()
        self._by_handle.clear()
        await self._transfers.stop()
        await self._crew.stop()

    async def _idle_within(self, seconds: float) -> None:
        if self._records:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)

    def _admit(self, assignment: Assignment) -> None:
        self._handle += 1
        tool = self._crew.tools.get((assignment.tool, assignment.version))
        folder = self._settings.work_root / f"{assignment.job_id}-{assignment.attempt}-{assignment.fence}"
        isolation = tool.isolation if tool is not None else "async"
        record = Record(assignment, self._handle, isolation, str(folder), time.monotonic())
        self._records[record.key] = record
        self._by_handle[record.handle] = record
        refusal = self._refusal(assignment, tool)
        if refusal is not None:
            verdict, fault = refusal
            self._loop.call_soon(self._conclude, record, record.ended_here(verdict, fault))
        elif assignment.files:
            self._transfers.stage(record)
        else:
            self._assign(record)

    def _refusal(self, assignment: Assignment, tool: ToolInfo | None) -> tuple[Verdict, Fault] | None:
        if self._draining:
            return Verdict.INTERRUPTED, Fault("interrupted", "the executor is stopping; the job will run again")
        if tool is None:
            message = f"this executor has no tool {assignment.tool}@{assignment.version}"
            return Verdict.ERROR, Fault("unknown_tool", message, retryable=False)
        impossible = tool.isolation == "async" and tool.min_isolation != "L0"
        impossible = impossible or (tool.isolation == "process" and tool.min_isolation not in ("L0", "L1", "L2"))
        if impossible:
            message = f"a tool of isolation {tool.isolation} cannot run at {tool.min_isolation}"
            return Verdict.ERROR, Fault("isolation_unavailable", message, retryable=False)
        if tool.min_isolation not in self._levels:
            message = f"the sandbox level {tool.min_isolation} is not proven on this machine"
            return Verdict.ERROR, Fault("isolation_unavailable", message)
        return None

    def _assign(self, record: Record) -> None:
        waiting = self._waiting[record.isolation]
        if waiting:
            waiting.append(record)
            self._assign_waiting()
        elif not self._hand_over(record):
            waiting.append(record)

    def _assign_waiting(self) -> None:
        for waiting in self._waiting.values():
            while waiting:
                if waiting[0].key in self._records and not self._hand_over(waiting[0]):
                    break
                waiting.popleft()

    def _hand_over(self, record: Record) -> bool:
        assignment = record.assignment
        worker = self._crew.place(record.isolation, (assignment.tool, assignment.version))
        if worker is None or worker.link is None:
            return False
        if not worker.running:
            worker.heard = time.monotonic()
        worker.running[record.handle] = record
        record.worker = worker
        record.sent = time.monotonic()
        tool = self._crew.tools.get((assignment.tool, assignment.version))
        own_user = tool is not None and tool.isolation == "command" and tool.min_isolation in self._own_users
        worker.link.post(record.start(own_user=own_user))
        return True

    def _end_waiting(self, record: Record) -> None:
        if record.key in self._records and record.worker is None and record.task is None:
            self._conclude(record, record.ended_here(*stopped_here(record)))

    def _heard(self, worker: Worker, messages: list[Message]) -> None:
        worker.heard = time.monotonic()
        batches: list[OutputBatch] = []
        freed = False
        for message in messages:
            if isinstance(message, Ended):
                freed = True
                if batches:
                    self._on_output(batches)
                    batches = []
                self._ended(worker, message)
            elif isinstance(message, Lines):
                self._lines(message, batches)
            elif isinstance(message, Gone):
                worker.zombies.pop(message.handle, None)
            else:
                assert isinstance(message, Beat), message
        if batches:
            self._on_output(batches)
        if freed and any(self._waiting.values()):
            self._assign_waiting()

    def _lines(self, message: Lines, batches: list[OutputBatch]) -> None:
        record = self._by_handle.get(message.handle)
        if record is not None:
            batches.append(record.batch(message.lines))
        elif (ended := self._recent.get(message.handle)) is not None:
            batches.append(ended.batch(message.lines, late=True))

    def _say(self, record: Record, lines: list[Line]) -> None:
        self._on_output([record.batch(lines)])

    def _ended(self, worker: Worker, ended: Ended) -> None:
        record = worker.running.pop(ended.handle, None)
        if record is None:
            return
        if ended.alive:
            tool = (record.assignment.tool, record.assignment.version)
            worker.zombies[ended.handle] = (time.monotonic(), tool)
        record.worker = None
        record.last_n = max(record.last_n, ended.last_n)
        if record.key not in self._records:
            return
        if ended.outputs and ended.verdict == Verdict.SUCCEEDED:
            self._transfers.collect(record, ended)
        else:
            if ended.folder or record.staged:
                self._transfers.remove_folder(record)
            self._conclude(record, ended)

    def _conclude(self, record: Record, ended: Ended, *, outputs: tuple[OutputFile, ...] = ()) -> None:
        """The one place where an assignment gets its outcome."""
        if self._records.pop(record.key, None) is None:
            return
        self._by_handle.pop(record.handle, None)
        if record.isolation == "async":
            self._recent[record.handle] = record
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
        self._on_outcome(record.outcome(ended, files=outputs))
        if not self._records:
            self._idle.set()

    def _lost(self, worker: Worker) -> None:
        """A worker is gone: what it still ran ends here."""
        for record in list(worker.running.values()):
            worker.running.pop(record.handle, None)
            record.worker = None
            if record.key not in self._records:
                continue
            verdict, fault = self._watch.verdict_of_loss(record, worker)
            self._transfers.remove_folder(record)
            self._conclude(record, record.ended_here(verdict, fault))
