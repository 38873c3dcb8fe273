"""A process child: runs `process` tools one after another in its main thread, warm from its birth.

stdout and stderr are real pipes; log entries, progress and the answer go over a channel. Stop requests come as
signals and are raised in the main thread, but only while the tool itself runs and never in the middle of a frame.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from jobyard.author.context import Context
from jobyard.author.errors import CANCEL, SOFT_LIMIT, stop_for
from jobyard.author.registry import ToolFunction

from jobyard_executor.sandbox.jail import Policy, confine, rlimits
from jobyard_executor.sandbox.kernel import die_with_parent, flush_c_streams, no_new_privileges
from jobyard_executor.worker import failures
from jobyard_executor.worker.capture import encode_fields, encode_progress
from jobyard_executor.worker.family import Family, told
from jobyard_executor.worker.messages import (
    ChildAsked,
    ChildEnded,
    ChildNote,
    ChildProgress,
    FrameReader,
    Message,
    Start,
    encode_frame,
)
from jobyard_executor.worker.settings import Memory
from jobyard_executor.worker.text import bounded
from jobyard_executor.worker.workdir import WorkDir

SIGNAL_OF_SOFT_LIMIT = signal.SIGUSR1
SIGNAL_OF_CANCEL = signal.SIGUSR2
_READ_BYTES = 64 * 1024


class Child:
    def __init__(
        self,
        channel: socket.socket,
        functions: Mapping[tuple[str, str], ToolFunction],
        *,
        jobs: int,
        policy: Policy | None,
        limits: Memory,
    ) -> None:
        self._channel = channel
        self._functions = functions
        self._left = jobs
        self._policy = policy
        self._limits = limits
        self._sending = threading.RLock()
        self._in_frame = False
        self._armed = False
        self._late_stop: str | None = None
        self.stop_reason: str | None = None

    def become(self, out: int, err: int, *, close: list[int]) -> NoReturn:
        """Turn the process just forked into this child; never returns."""
        code = 1
        try:
            self._settle(out, err, close)
            self._serve()
            code = 0
        except OSError:
            code = 0
        finally:
            os._exit(code)

    def send(self, message: Message) -> None:
        """One frame, whole: a stop request that arrives meanwhile is raised after it."""
        with self._sending:
            main = threading.current_thread() is threading.main_thread()
            if main:
                self._in_frame = True
            try:
                self._channel.sendall(encode_frame([message]))
            finally:
                if main:
                    self._in_frame = False
        if main and self._late_stop is not None:
            reason, self._late_stop = self._late_stop, None
            self._raise(reason)

    def _settle(self, out: int, err: int, close: list[int]) -> None:
        os.setsid()
        die_with_parent()
        os.umask(0o077)
        null = os.open("/dev/null", os.O_RDONLY)
        for descriptor, target in ((null, 0), (out, 1), (err, 2)):
            os.dup2(descriptor, target)
        for descriptor in (null, out, err, *close):
            os.close(descriptor)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
        if self._policy is not None:
            for which, values in rlimits(self._policy).items():
                resource.setrlimit(which, values)
            confine(self._policy)
        else:
            _bound(resource.RLIMIT_DATA, self._limits.child_memory_bytes)
            _bound(resource.RLIMIT_CORE, 0)
            _bound(resource.RLIMIT_NOFILE, self._limits.open_files)
            _bound(resource.RLIMIT_FSIZE, self._limits.file_bytes)
            no_new_privileges()
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)

    def _serve(self) -> None:
        reader = FrameReader()
        while True:
            data = self._channel.recv(_READ_BYTES)
            if not data:
                return
            for message in reader.feed(data):
                if isinstance(message, Start):
                    self.send(self._run(message))

    def _run(self, start: Start) -> ChildEnded:
        self._prepare()
        folder = WorkDir(start.work_dir, staged=start.staged)
        backend = _Backend(self, folder, start)
        ctx = Context(
            backend,
            job_id=start.job_id,
            attempt=start.attempt,
            fence=start.fence,
            deadline=datetime.fromtimestamp(start.deadline, UTC) if start.deadline is not None else None,
            work_dir=backend.work_dir(),
        )
        value, verdict, fault = b"null", failures.SUCCEEDED, None
        function = self._functions[start.tool, start.version]
        try:
            self._armed = True
            try:
                result = function.run(ctx, folder.parameters(start.parameters))
            finally:
                self._armed = False
            value = function.encode_result(result)
        except BaseException as error:
            verdict, fault = failures.judged(error, soft_timeout_s=start.soft_timeout_s, stop=self._user_stop())
            del error
        spent = self._tidy()
        return ChildEnded(verdict, value, fault, folder.has_outputs(), folder.exists, spent)

    def _user_stop(self) -> str | None:
        return failures.STOP_CANCEL if self.stop_reason == CANCEL else None

    def _prepare(self) -> None:
        self.stop_reason = self._late_stop = None
        self._threads = threading.active_count()
        self._environment = dict(os.environ)
        signal.signal(SIGNAL_OF_SOFT_LIMIT, lambda *_: self._hear(SOFT_LIMIT))
        signal.signal(SIGNAL_OF_CANCEL, lambda *_: self._hear(CANCEL))

    def _tidy(self) -> bool:
        """Undo what a tool may have changed for the next one; whether this child must not be used again."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        flush_c_streams()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        os.umask(0o077)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        with suppress(OSError):
            os.chdir("/")
        self._left -= 1
        return self._left <= 0 or threading.active_count() > self._threads

    def _hear(self, reason: str) -> None:
        if not self._armed:
            return
        self.stop_reason = reason
        if self._in_frame:
            self._late_stop = reason
        else:
            self._raise(reason)

    def _raise(self, reason: str) -> None:
        stop = stop_for(reason)
        if stop is not None and self._armed:
            raise stop


class _Backend:
    """The tool's context, seen from the child."""

    def __init__(self, child: Child, folder: WorkDir, start: Start) -> None:
        self._child = child
        self._folder = folder
        self._start = start
        self._family = Family(start)

    def work_dir(self) -> Path:
        return Path(self._folder.path)

    def emit(self, stream: str, message: str, *, level: str | None, fields: Mapping[str, Any]) -> None:
        self._child.send(ChildNote(stream, bounded(str(message)), level, encode_fields(fields)))

    def progress(self, done: float, total: float | None, note: str | None) -> None:
        self._child.send(ChildProgress(encode_progress(done, total, note)))

    def input_path(self, slot: str) -> Path:
        return self._folder.input_path(slot)

    def output_path(self, name: str) -> Path:
        return self._folder.output_path(name)

    def submit(self, body: bytes) -> str:
        asked = told(self._family.add, body)
        self._child.send(ChildAsked(body))
        return asked

    def stop_requested(self) -> str | None:
        return self._child.stop_reason


def _bound(which: int, wanted: int) -> None:
    """Set a limit, never above what this process may have."""
    most = resource.getrlimit(which)[1]
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(which, (limit, limit))


def _stream(descriptor: int) -> io.TextIOWrapper:
    return open(descriptor, "w", encoding="utf-8", errors="surrogateescape", buffering=1, closefd=False)
