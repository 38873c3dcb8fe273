"""A slot guardian: runs one job at a time, in a child or in a sandbox, and outlives whatever it does.

    Start ─► begin ─► (pipes, channel, stop requests, limits) ─► the main process ended ─► sweep ─► drain ─► Ended

It is a subreaper and starts nothing but its job, so everything below it belongs to that job (and, between process
jobs, nothing but the warm child may be there).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from jobyard.author.registry import ToolFunction

from jobyard_executor.sandbox.kernel import become_subreaper
from jobyard_executor.worker import failures, trees
from jobyard_executor.worker.attempt import Attempt
from jobyard_executor.worker.footprint import Footprint
from jobyard_executor.worker.messages import (
    Ended,
    Fault,
    FrameError,
    FrameReader,
    Lines,
    Message,
    Start,
    Stop,
    encode_frame,
)
from jobyard_executor.worker.settings import WorkerSettings

FLUSH_S = 0.05
READ_BYTES = 64 * 1024
DRAIN_S = 0.5
"""How long a pipe is emptied after the tool's end, if something outside our reach keeps writing into it."""
WATCH_S = 0.25


class Work(Protocol):
    """The part of a job that differs between isolations."""

    def begin(self, attempt: Attempt) -> None:
        """Start the tool. Raises CannotStart."""

    def ask(self, attempt: Attempt, *, soft: bool) -> None:
        """Tell the tool that it should end."""

    def watch(self, attempt: Attempt) -> Fault | None:
        """Look after limits that only we can see; a fault means: kill it."""

    def kill(self) -> None:
        """Kill the main process, and at once with it whoever can be; the sweep does the rest."""

    def sweep(self) -> list[int]:
        """Kill what is left of the job; who withstood."""

    def finish(self, attempt: Attempt) -> Ended:
        """Everything is dead or idle: empty the pipes and say how it ended."""


class CannotStart(Exception):
    """The tool was not started; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Slot:
    """The loop of a guardian. `work` is made by the kind of slot and uses `watch_fd`, `forget_fd` and `main_ended`."""

    def __init__(self, link: socket.socket, settings: WorkerSettings) -> None:
        self.settings = settings
        self.attempt: Attempt | None = None
        self.selector = selectors.EpollSelector()
        self.work: Work | None = None
        self._link = link
        self._reader = FrameReader()
        self._over = False
        self._fault: Fault | None = None
        self._flush_at: float | None = None
        self._watch_at = 0.0
        self._footprint: Footprint | None = None

    def serve(self) -> None:
        """Until the control process is gone; then nothing of the job is left, and the process ends."""
        become_subreaper()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.watch_fd(self._link.fileno(), self._hear)
        try:
            while True:
                for key, _ in self.selector.select(self._patience()):
                    if key.fd in self.selector.get_map():
                        key.data()
                self._look()
        except (ConnectionError, FrameError):
            if self.work is not None:
                self.work.kill()
            trees.sweep()

    @property
    def link_fd(self) -> int:
        return self._link.fileno()

    def watch_fd(self, descriptor: int, act: Callable[[], None]) -> None:
        self.selector.register(descriptor, selectors.EVENT_READ, act)

    def forget_fd(self, descriptor: int) -> None:
        with suppress(KeyError):
            self.selector.unregister(descriptor)

    def main_ended(self) -> None:
        """The tool's main process has ended, or its child has answered."""
        self._over = True

    def send(self, *messages: Message) -> None:
        self._link.sendall(encode_frame(messages))

    def _patience(self) -> float | None:
        if self.attempt is None:
            return None
        times = [self.attempt.due(), self._watch_at]
        if self._flush_at is not None:
            times.append(self._flush_at)
        return max(0.0, min(times) - time.monotonic())

    def _hear(self) -> None:
        data = self._link.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the control process is gone")
        for message in self._reader.feed(data):
            if isinstance(message, Start):
                self._begin(message)
            elif isinstance(message, Stop):
                self._stop(message)

    def _begin(self, start: Start) -> None:
        self.attempt = attempt = Attempt(start)
        self._footprint = Footprint(start.work_dir, self.settings.limits)
        self._over, self._fault, self._flush_at = False, None, None
        self._watch_at = attempt.began + WATCH_S
        assert self.work is not None
        try:
            self.work.begin(attempt)
        except CannotStart as error:
            self._conclude(attempt.ended(failures.ERROR, fault=error.fault))

    def _stop(self, stop: Stop) -> None:
        attempt = self.attempt
        if attempt is None or attempt.start.handle != stop.handle or self.work is None:
            return
        first = attempt.stop is None
        if attempt.asked(stop.reason):
            if first:
                self.work.ask(attempt, soft=False)
        else:
            self._kill(attempt)

    def _look(self) -> None:
        attempt, work = self.attempt, self.work
        if attempt is None or work is None:
            return
        now = time.monotonic()
        if self._over:
            self._finish(attempt)
            return
        if now >= attempt.hard_at:
            attempt.hard = attempt.hard or attempt.stop is None
            attempt.hard_at = float("inf")
            self._kill(attempt)
        elif attempt.kill_at is not None and now >= attempt.kill_at:
            attempt.kill_at = None
            self._kill(attempt)
        elif attempt.soft_at is not None and not attempt.soft and attempt.stop is None and now >= attempt.soft_at:
            attempt.soft = True
            work.ask(attempt, soft=True)
        if now >= self._watch_at:
            self._watch_at = now + WATCH_S
            fault = work.watch(attempt) or (self._footprint.fault() if self._footprint else None)
            if fault is not None and self._fault is None:
                self._fault = fault
                self._kill(attempt)
        self._flush(attempt, now)

    def _kill(self, attempt: Attempt) -> None:
        attempt.killed = True
        assert self.work is not None
        self.work.kill()

    def _flush(self, attempt: Attempt, now: float) -> None:
        if not attempt.capture.waiting:
            self._flush_at = None
        elif self._flush_at is None:
            self._flush_at = now + FLUSH_S
        elif now >= self._flush_at:
            attempt.capture.due()
            lines = attempt.capture.take()
            if lines:
                self.send(Lines(attempt.start.handle, lines))
            self._flush_at = now + FLUSH_S if attempt.capture.waiting else None

    def _finish(self, attempt: Attempt) -> None:
        assert self.work is not None
        left = self.work.sweep()
        if left:
            attempt.capture.said(
                "log", f"{len(left)} processes of the tool withstand SIGKILL", level="error", fields=None
            )
        ended = self.work.finish(attempt)
        if self._fault is not None and ended.verdict != failures.SUCCEEDED and not attempt.hard and not attempt.stop:
            ended.verdict, ended.fault = failures.RESOURCE_EXHAUSTED, self._fault
        self._conclude(ended)

    def _conclude(self, ended: Ended) -> None:
        attempt = self.attempt
        assert attempt is not None
        if ended.folder and not ended.outputs:
            attempt.folder.remove()
            ended.folder = False
        lines = attempt.capture.take()
        self.attempt = None
        if lines:
            self.send(Lines(ended.handle, lines), ended)
        else:
            self.send(ended)


def drain(descriptor: int, take: Callable[[bytes], None]) -> None:
    """Everything that lies in a non-blocking pipe now; never waits for its end."""
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            return
        take(data)


Functions = Mapping[tuple[str, str], ToolFunction]
