"""Files on their way to and from attempts, one task each, so that nobody waits for another job's bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from jobyard_executor.domain.assignment import FilesPort, OutputFile, Verdict
from jobyard_executor.outbound.runner import files
from jobyard_executor.outbound.runner.record import Key, Record
from jobyard_executor.outbound.runner.watch import stopped_here
from jobyard_executor.worker.messages import Ended, Fault, Line
from jobyard_executor.worker.workdir import remove_tree

SKIPPED_NAMED = 20


class Conclude(Protocol):
    def __call__(self, record: Record, ended: Ended, *, outputs: tuple[OutputFile, ...] = ()) -> None: ...


class Transfers:
    """`staged` hears of an attempt whose inputs lie in its folder; every other end goes to `conclude`."""

    def __init__(
        self,
        port: FilesPort,
        *,
        records: Mapping[Key, Record],
        staged: Callable[[Record], None],
        conclude: Conclude,
        say: Callable[[Record, list[Line]], None],
    ) -> None:
        self._port = port
        self._records = records
        self._staged = staged
        self._conclude = conclude
        self._say = say
        self._tasks: set[asyncio.Task[None]] = set()

    def stage(self, record: Record) -> None:
        self._spawn(record, self._stage(record))

    def collect(self, record: Record, ended: Ended) -> None:
        self._spawn(record, self._collect(record, ended))

    def remove_folder(self, record: Record) -> None:
        asyncio.get_running_loop().run_in_executor(None, partial(remove_tree, record.work_dir))

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stage(self, record: Record) -> None:
        try:
            await files.stage(self._port, record.assignment, record.work_dir)
        except files.FilesUnavailable as error:
            self._abandon(record, Verdict.ERROR, Fault("files_unavailable", str(error)))
        else:
            record.task = None
            record.staged = True
            self._staged(record)

    async def _collect(self, record: Record, ended: Ended) -> None:
        stored: tuple[OutputFile, ...] = ()
        try:
            collected = await files.collect(self._port, record.assignment, record.work_dir)
            stored = collected.files
            self._name_skipped(record, collected.skipped)
        except files.TooManyOutputs as error:
            ended.verdict = Verdict.RESOURCE_EXHAUSTED
            ended.fault = Fault("resource_exhausted", str(error), retryable=False)
        except files.FilesUnavailable as error:
            ended.verdict, ended.fault = Verdict.ERROR, Fault("files_unavailable", str(error))
        record.task = None
        self.remove_folder(record)
        self._conclude(record, ended, outputs=stored)

    def _name_skipped(self, record: Record, skipped: Sequence[str]) -> None:
        if not skipped:
            return
        names = ", ".join(skipped[:SKIPPED_NAMED]) + (" …" if len(skipped) > SKIPPED_NAMED else "")
        message = f"not kept, because only regular files become files of the job: {names}"
        self._say(record, [files.note(record.last_n + 1, message)])

    def _abandon(self, record: Record, verdict: Verdict, fault: Fault) -> None:
        record.task = None
        self.remove_folder(record)
        self._conclude(record, record.ended_here(verdict, fault))

    def _spawn(self, record: Record, work: Coroutine[Any, Any, None]) -> None:
        record.task = task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._task_ended, record))

    def _task_ended(self, record: Record, task: asyncio.Task[None]) -> None:
        """A transfer that was cancelled, also before its first step, or that failed in a way of its own."""
        self._tasks.discard(task)
        if record.task is not task or record.key not in self._records:
            return
        if task.cancelled():
            self._abandon(record, *stopped_here(record))
            return
        message = f"the job's files could not be moved: {task.exception()}"
        self._abandon(record, Verdict.ERROR, Fault("files_unavailable", message))
