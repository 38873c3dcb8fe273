"""An async worker: many `async` tools on one loop, one task each.

Soft limit and cancel are raised inside the tool; the hard limit cancels its task, and after one second the attempt is
over, whether the task still lives or not: its context is revoked and its later lines are marked. The control process
replaces a worker whose task does not end, or whose loop no longer turns.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from jobyard.author.context import Context

from jobyard_executor.worker import failures, routed
from jobyard_executor.worker.async_attempt import Running
from jobyard_executor.worker.messages import Beat, Ended, FrameReader, Gone, Lines, Message, Start, Stop, encode_frame
from jobyard_executor.worker.slot import FLUSH_S, Functions

BEAT_S = 1.0
REVOKE_S = 1.0
"""From the cancellation of a task to the end of its attempt, dead or not."""
AGAIN_S = 0.5


class AsyncWorker(asyncio.Protocol):
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._reader = FrameReader()
        self._transport: asyncio.WriteTransport | None = None
        self._running: dict[int, Running] = {}
        self._outbox: list[Message] = []
        self._loud: dict[int, Running] = {}
        self._flush_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._look_at = float("inf")
        self.ended = self._loop.create_future()
        self._beat()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        for message in self._reader.feed(data):
            if isinstance(message, Start):
                self._begin(message)
            elif isinstance(message, Stop):
                self._stop(message)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        if not self.ended.done():
            self.ended.set_result(None)

    def on_loop(self, act: Callable[[], None]) -> None:
        """Run on the loop's thread: now, or soon when a thread of the tool calls."""
        if threading.get_ident() == self._thread:
            act()
        else:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(act)

    def has_output(self, running: Running) -> None:
        self._loud[running.start.handle] = running
        if self._flush_timer is None:
            self._flush_timer = self._loop.call_later(FLUSH_S, self._flush)

    def _begin(self, start: Start) -> None:
        running = Running(start, self)
        self._running[start.handle] = running
        running.task = self._loop.create_task(self._run(running))
        due = running.due()
        if due < self._look_at:
            self._look_again(due)

    async def _run(self, running: Running) -> None:
        start = running.start
        running.entered = True
        if running.stop is not None:
            self._running.pop(start.handle, None)
            self._conclude(running, running.ended(failures.ERROR))
            return
        routed.sink.set(running.printed)
        value, verdict, fault = b"null", failures.SUCCEEDED, None
        try:
            function = self._functions[start.tool, start.version]
            ctx = Context(
                running,
                job_id=start.job_id,
                attempt=start.attempt,
                fence=start.fence,
                deadline=datetime.fromtimestamp(start.deadline, UTC) if start.deadline is not None else None,
                work_dir=Path(start.work_dir),
            )
            parameters = start.parameters
            if start.staged:
                parameters = await asyncio.to_thread(running.folder.parameters, parameters)
            value = function.encode_result(await function.run(ctx, parameters))
        except BaseException as error:
            verdict, fault = failures.judged(error, soft_timeout_s=start.soft_timeout_s, stop=running.stop)
        if running.over:
            self._running.pop(start.handle, None)
            self._post(Gone(start.handle))
            running.folder.remove()
            return
        outputs = running.folder.outputs and running.folder.has_outputs()
        self._conclude(running, running.ended(verdict, value=value, fault=fault, outputs=outputs))
        self._running.pop(start.handle, None)

    def _stop(self, stop: Stop) -> None:
        running = self._running.get(stop.handle)
        if running is None or running.over:
            return
        first = running.stop is None
        if not running.asked(stop.reason):
            self._revoke(running, time.monotonic())
        elif first:
            self._cancel(running)
        self._look_again(running.due())

    def _look(self) -> None:
        """Act on every limit that has passed; set the timer for the next."""
        now = time.monotonic()
        for running in list(self._running.values()):
            self._judge(running, now)
        self._look_at = float("inf")
        if self._running:
            self._look_again(min(running.due() for running in self._running.values()))

    def _judge(self, running: Running, now: float) -> None:
        if running.revoke_at is not None and now >= running.revoke_at:
            if running.over:
                running.revoke_at = now + AGAIN_S
                self._cancel(running)
            else:
                running.revoke_at = now + AGAIN_S
                ended = running.ended(failures.ERROR)
                ended.alive = True
                self._conclude(running, ended)
        if now >= running.hard_at:
            running.hard = running.hard or running.stop is None
            self._revoke(running, now)
        elif running.kill_at is not None and now >= running.kill_at:
            self._revoke(running, now)
        elif running.soft_at is not None and not running.soft and running.stop is None and now >= running.soft_at:
            running.soft = True
            self._cancel(running)

    def _revoke(self, running: Running, now: float) -> None:
        """Cancel for good; in a second the attempt is over."""
        running.killed = True
        running.hard_at = float("inf")
        running.kill_at = None
        if running.revoke_at is None:
            running.revoke_at = now + REVOKE_S
        self._cancel(running)

    def _cancel(self, running: Running) -> None:
        """A task that has not begun sees for itself; cancelled now, it would never get to say how it ended."""
        if running.task is not None and running.entered:
            running.task.cancel()

    def _look_again(self, at: float) -> None:
        if at >= self._look_at:
            return
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._look_at = at
        self._look_timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._look)

    def _conclude(self, running: Running, ended: Ended) -> None:
        if ended.folder and not ended.outputs and not ended.alive:
            running.folder.remove()
            ended.folder = False
        lines = running.capture.take()
        self._loud.pop(ended.handle, None)
        if lines:
            self._post(Lines(ended.handle, lines))
        self._post(ended)
        running.over = True

    def _flush(self) -> None:
        self._flush_timer = None
        loud, self._loud = self._loud, {}
        for handle, running in loud.items():
            running.capture.due()
            lines = running.capture.take()
            if lines:
                self._post(Lines(handle, lines, running.over))
            if running.capture.waiting:
                self.has_output(running)

    def _post(self, message: Message) -> None:
        if not self._outbox:
            self._loop.call_soon(self._send)
        self._outbox.append(message)

    def _send(self) -> None:
        messages, self._outbox = self._outbox, []
        if self._transport is not None and messages:
            self._transport.write(encode_frame(messages))

    def _beat(self) -> None:
        if self._running:
            self._post(Beat())
        self._loop.call_later(BEAT_S, self._beat)
