"""Keeping the workers manned: the forge, the async workers, and slots on demand."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.outbound.runner.forge_link import ForgeLink, RunnerBroken
from jobyard_executor.outbound.runner.link import Link
from jobyard_executor.outbound.runner.settings import RunnerSettings
from jobyard_executor.outbound.runner.workers import ToolKey, Worker, Workers
from jobyard_executor.worker.messages import Message, ToolInfo

log = get_logger(__name__)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
HEALTHY_S = 5.0


class Crew:
    def __init__(
        self,
        settings: RunnerSettings,
        *,
        on_messages: Callable[[Worker, list[Message]], None],
        on_lost: Callable[[Worker], None],
        on_room: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._on_room = on_room
        self.workers = Workers(
            async_workers=settings.async_workers,
            async_slots=settings.async_slots,
            slots={"process": settings.process_slots, "command": settings.command_slots},
        )
        self.tools: dict[ToolKey, ToolInfo] = {}
        self.definitions: list[bytes] = []
        self._forge: ForgeLink | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause_s = FIRST_PAUSE_S
        self._stopping = False

    async def start(self) -> None:
        """Raises RunnerBroken."""
        await self._open_forge()
        self.man()
        for kind in ("process", "command"):
            if self.workers.capacity(kind):
                self._fork(kind)

    async def stop(self) -> None:
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        for worker in self.workers:
            if worker.link is not None:
                worker.link.close()
        if self._forge is not None:
            await self._forge.stop()
        for worker in self.workers:
            self.workers.remove(worker)

    def man(self) -> None:
        """Fork the shared async workers that are missing."""
        if self._forge is not None and not self._stopping:
            for _ in range(self.workers.lacking()):
                self._fork("async")

    def place(self, kind: str, tool: ToolKey) -> Worker | None:
        """A worker for one more job, forked now if there may be another; None: the job waits."""
        worker = self.workers.free(kind, tool)
        if worker is not None or self._forge is None:
            return worker
        if kind == "async":
            return self._fork("async", tool=tool) if self.workers.apart(tool) else None
        return self._fork(kind) if self.workers.may_grow(kind) else None

    def retire(self, worker: Worker, *, at: float) -> None:
        """No new work for it; a new worker takes its place at once."""
        if worker.retire_at is None:
            worker.retire_at = at
            self.man()

    def _fork(self, kind: str, *, tool: ToolKey | None = None) -> Worker | None:
        assert self._forge is not None
        worker = self.workers.new(kind, now=time.monotonic(), tool=tool)
        ours, theirs = socket.socketpair()
        try:
            self._forge.fork(worker.number, kind, theirs)
        except OSError:
            ours.close()
            self.workers.remove(worker)
            return None
        finally:
            theirs.close()
        worker.link = Link(on_messages=partial(self._on_messages, worker), on_lost=partial(self._worker_lost, worker))
        self._spawn(worker.link.open(ours))
        return worker

    def _worker_lost(self, worker: Worker) -> None:
        lived_s = time.monotonic() - worker.born
        self.workers.remove(worker)
        if self._stopping:
            return
        log.warning("worker.lost", kind=worker.kind, pid=worker.pid, jobs=len(worker.running))
        self._on_lost(worker)
        if lived_s >= HEALTHY_S:
            self._pause_s = FIRST_PAUSE_S
        if worker.kind == "async" and worker.retire_at is None:
            self._spawn(self._man_later())
        else:
            self._on_room()

    async def _man_later(self) -> None:
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)
        self.man()
        self._on_room()

    async def _open_forge(self) -> None:
        forge = ForgeLink(self._settings, on_forked=self._forked, on_lost=self._forge_lost)
        try:
            ready = await forge.start()
        except BaseException:
            await forge.stop()
            raise
        self.tools = {(tool.name, tool.version): tool for tool in ready.tools}
        self.definitions = ready.definitions
        self._forge = forge

    def _forked(self, number: int, pid: int) -> None:
        worker = self.workers.by_number(number)
        if worker is not None:
            worker.identify(pid)

    def _forge_lost(self) -> None:
        lost, self._forge = self._forge, None
        if not self._stopping:
            log.error("forge.lost")
            self._spawn(self._reopen(lost))

    async def _reopen(self, lost: ForgeLink | None) -> None:
        if lost is not None:
            await lost.stop()
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            try:
                await self._open_forge()
            except (RunnerBroken, OSError) as error:
                log.error("forge.broken", error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                self.man()
                self._on_room()
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
