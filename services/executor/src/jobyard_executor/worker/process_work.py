"""`process` tools: one at a time in a warm child, which is forked from the guardian and therefore has all imported."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jobyard_executor.sandbox.jail import Limits, Policy
from jobyard_executor.worker import failures, trees
from jobyard_executor.worker.attempt import Attempt
from jobyard_executor.worker.child import SIGNAL_OF_CANCEL, SIGNAL_OF_SOFT_LIMIT, Child
from jobyard_executor.worker.messages import (
    ChildAsked,
    ChildEnded,
    ChildNote,
    ChildProgress,
    Ended,
    Fault,
    FrameError,
    FrameReader,
    Message,
    encode_frame,
)
from jobyard_executor.worker.slot import READ_BYTES, CannotStart, Functions, Slot, drain

SINGLE_USE = ("L2",)
"""Confinement binds a process to one work dir for good, so such a child serves one job."""


class ProcessWork:
    def __init__(self, slot: Slot, functions: Functions) -> None:
        self._slot = slot
        self._functions = functions
        self._pid: int | None = None
        self._pidfd = self._out = self._err = -1
        self._channel: socket.socket | None = None
        self._reader = FrameReader()
        self._answer: ChildEnded | None = None
        self._died = False
        self._spent = False
        self._oom_kills = 0

    def warm(self) -> None:
        """Have an unconfined child ready."""
        if self._pid is None:
            self._fork(None)

    def begin(self, attempt: Attempt) -> None:
        start = attempt.start
        level = self._functions[start.tool, start.version].min_isolation
        self._answer, self._died = None, False
        self._oom_kills = oom_kills()
        if level in SINGLE_USE:
            self._discard()
            attempt.folder.make()
            self._fork(Policy(level=level, work_dir=start.work_dir, limits=Limits()))
            self._spent = True
        else:
            self.warm()
        assert self._channel is not None
        start.staged = attempt.folder.exists
        try:
            self._channel.sendall(encode_frame([start]))
        except OSError as error:
            raise CannotStart(Fault("worker_lost", f"the process child could not be reached: {error}")) from error

    def ask(self, attempt: Attempt, *, soft: bool) -> None:
        self._signal(SIGNAL_OF_SOFT_LIMIT if soft else SIGNAL_OF_CANCEL)

    def watch(self, attempt: Attempt) -> Fault | None:
        trees.reap(self.spared())
        return failures.crowded(len(trees.below(os.getpid())), most=self._slot.settings.limits.processes)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def sweep(self) -> list[int]:
        return trees.sweep(self.spared())

    def spared(self) -> list[int]:
        """The warm child, which lives on after the job."""
        return [self._pid] if self._pid is not None else []

    def finish(self, attempt: Attempt) -> Ended:
        self._hear_rest(attempt)
        self._pour(attempt, self._out, "stdout")
        self._pour(attempt, self._err, "stderr")
        answer = self._answer
        if answer is None:
            return self._without_answer(attempt)
        attempt.folder.exists = attempt.folder.exists or answer.folder
        ended = attempt.ended(answer.verdict, value=answer.value, fault=answer.fault, outputs=answer.outputs)
        if answer.spent or self._spent or self._died:
            self._discard()
        return ended

    def _without_answer(self, attempt: Attempt) -> Ended:
        """The child died under its job: by us, by the kernel's memory killer, or by what the tool did."""
        status = self._discard()
        attempt.folder.exists = attempt.folder.exists or Path(attempt.start.work_dir).exists()
        code = os.waitstatus_to_exitcode(status) if status is not None else -signal.SIGKILL
        if attempt.killed:
            return attempt.ended(failures.ERROR, fault=Fault("killed", "the tool was killed"))
        verdict, fault = cause_of_death(code, oom=oom_kills() > self._oom_kills)
        return attempt.ended(verdict, fault=fault)

    def _fork(self, policy: Policy | None) -> None:
        ours, theirs = socket.socketpair()
        out, out_theirs = os.pipe()
        err, err_theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._slot.selector.close()
            settings = self._slot.settings
            child = Child(theirs, self._functions, jobs=settings.jobs_per_child, policy=policy, limits=settings.limits)
            child.become(out_theirs, err_theirs, close=[ours.fileno(), out, err, self._slot.link_fd])
        theirs.close()
        os.close(out_theirs)
        os.close(err_theirs)
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        self._pid, self._channel, self._out, self._err = pid, ours, out, err
        self._pidfd = os.pidfd_open(pid)
        self._reader = FrameReader()
        self._spent = False
        self._slot.watch_fd(self._pidfd, self._on_death)
        self._slot.watch_fd(ours.fileno(), self._on_channel)
        self._slot.watch_fd(out, self._reading(out, "stdout"))
        self._slot.watch_fd(err, self._reading(err, "stderr"))

    def _on_death(self) -> None:
        self._died = True
        self._slot.forget_fd(self._pidfd)
        if self._slot.attempt is None:
            self._discard()
        else:
            self._slot.main_ended()

    def _on_channel(self) -> None:
        assert self._channel is not None
        try:
            data = self._channel.recv(READ_BYTES)
            messages = self._reader.feed(data) if data else []
        except (OSError, FrameError):
            data, messages = b"", []
        if not data:
            self._slot.forget_fd(self._channel.fileno())
            self.kill()
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        attempt = self._slot.attempt
        if attempt is None:
            return
        if isinstance(message, ChildNote):
            attempt.capture.said(message.stream, message.message, level=message.level, fields=message.fields)
        elif isinstance(message, ChildProgress):
            attempt.capture.moved(message.fields)
        elif isinstance(message, ChildAsked):
            attempt.family.add_unheard(message.body)
        elif isinstance(message, ChildEnded):
            self._answer = message
            self._slot.main_ended()

    def _reading(self, descriptor: int, stream: str) -> Callable[[], None]:
        def read() -> None:
            data = b""
            with suppress(BlockingIOError):
                data = os.read(descriptor, READ_BYTES)
                if not data:
                    self._slot.forget_fd(descriptor)
            if data and self._slot.attempt is not None:
                self._slot.attempt.capture.printed(stream, data)

        return read

    def _hear_rest(self, attempt: Attempt) -> None:
        """Notes that a dead child left in its channel."""
        if self._channel is None or not self._died:
            return
        self._channel.setblocking(False)
        with suppress(OSError, FrameError):
            while data := self._channel.recv(READ_BYTES):
                for message in self._reader.feed(data):
                    self._take(message)

    def _pour(self, attempt: Attempt, descriptor: int, stream: str) -> None:
        if descriptor >= 0:
            drain(descriptor, lambda data: attempt.capture.printed(stream, data))

    def _signal(self, number: int) -> None:
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _discard(self) -> int | None:
        """Kill the child, if there is one, and forget it; its wait status."""
        if self._pid is None:
            return None
        self._signal(signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._pid = None
        trees.sweep()
        if self._channel is not None:
            self._slot.forget_fd(self._channel.fileno())
            self._channel.close()
            self._channel = None
        for descriptor in (self._pidfd, self._out, self._err):
            self._slot.forget_fd(descriptor)
            os.close(descriptor)
        self._pidfd = self._out = self._err = -1
        return status


def oom_kills() -> int:
    """How often the kernel's memory killer has struck on this machine."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        return 0
    return 0


def cause_of_death(code: int, *, oom: bool) -> tuple[str, Fault]:
    """Verdict and fault for a main process that nobody here killed; `code` as in subprocess."""
    if code >= 0:
        return failures.ERROR, Fault("exit_code", f"the tool ended its process with exit code {code}")
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    if code == -signal.SIGKILL:
        if oom:
            return failures.OOM, Fault("out_of_memory", "the kernel killed the tool because memory ran out")
        return failures.WORKER_LOST, Fault("worker_lost", "the tool's process was killed from outside")
    if code in (-signal.SIGXCPU, -signal.SIGXFSZ):
        what = "processor time" if code == -signal.SIGXCPU else "size of a file"
        return failures.RESOURCE_EXHAUSTED, Fault(
            "resource_exhausted", f"the tool exceeded its limit on the {what}", retryable=False
        )
    if code == -signal.SIGSYS:
        return failures.ERROR, Fault("forbidden_call", "the tool made a system call that its sandbox forbids")
    return failures.ERROR, Fault("crashed", f"the tool's process was ended by {name}")
