"""The forge: imports the tools once and forks async workers and slot guardians, warm, whenever it is asked.

It runs no tool. As a subreaper it inherits what a worker that died leaves behind, and kills it. It stays
single-threaded, because it forks.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from jobyard_executor.sandbox.kernel import become_subreaper
from jobyard_executor.worker import async_main, trees
from jobyard_executor.worker.command_work import CommandWork
from jobyard_executor.worker.messages import (
    Broken,
    Fork,
    Forked,
    FrameReader,
    Message,
    Ready,
    ToolInfo,
    encode_frame,
)
from jobyard_executor.worker.process_work import ProcessWork
from jobyard_executor.worker.settings import WorkerSettings
from jobyard_executor.worker.slot import Slot

KINDS = ("async", "process", "command")
FAREWELL_S = 1.0
"""How long guardians may take to clean up after the control process has gone, before they are killed too."""


class Forge:
    def __init__(self, link: socket.socket, settings: WorkerSettings, catalogue: Any) -> None:
        self._link = link
        self._settings = settings
        self._catalogue = catalogue
        self._reader = FrameReader()
        self._sockets: deque[int] = deque()
        self._workers: set[int] = set()
        self._wake, self._alarm = os.pipe()

    def serve(self) -> None:
        become_subreaper()
        for descriptor in (self._wake, self._alarm):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._bury()
            if self._link.fileno() in ready and not self._hear():
                break
        self._farewell()

    def _hear(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._link, 64 * 1024, 64)
        except ConnectionError:
            return False
        self._sockets.extend(descriptors)
        if not data:
            return False
        for message in self._reader.feed(data):
            if isinstance(message, Fork):
                self._fork(message, self._sockets.popleft())
        return True

    def _fork(self, fork: Fork, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._become(fork.kind, descriptor)
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(code)
        os.close(descriptor)
        self._workers.add(pid)
        self._send(Forked(fork.number, pid))

    def _become(self, kind: str, descriptor: int) -> None:
        signal.set_wakeup_fd(-1)
        self._link.close()
        for theirs in (self._wake, self._alarm, *self._sockets):
            os.close(theirs)
        os.set_inheritable(descriptor, False)
        link = socket.socket(fileno=descriptor)
        if kind == "async":
            async_main.run(link, self._catalogue.functions)
            return
        os.setsid()
        slot = Slot(link, self._settings)
        if kind == "process":
            work = ProcessWork(slot, self._catalogue.functions)
            slot.work = work
            work.warm()
        else:
            slot.work = CommandWork(slot, self._catalogue.commands)
        slot.serve()

    def _bury(self) -> None:
        """Collect workers that ended; whoever else turned up below us was left behind by one of them."""
        trees.reap(self._workers)
        for pid in list(self._workers):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._workers.discard(pid)
        self._kill_strays()

    def _kill_strays(self) -> None:
        for _ in range(50):
            strays = [pid for pid in trees.children(os.getpid()) if pid not in self._workers]
            if not strays:
                return
            for pid in [victim for stray in strays for victim in (stray, *trees.below(stray))]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
            trees.reap(self._workers)

    def _farewell(self) -> None:
        deadline = time.monotonic() + FAREWELL_S
        while self._workers and time.monotonic() < deadline:
            self._bury()
            time.sleep(0.02)
        trees.sweep()

    def _send(self, message: Message) -> None:
        self._link.sendall(encode_frame([message]))


def main(descriptor: int, settings: WorkerSettings) -> int:
    """Load the tools, say what there is, and serve until the control process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        os.setsid()
    os.set_inheritable(descriptor, False)
    link = socket.socket(fileno=descriptor)
    try:
        catalogue = _loader(settings.loader)(
            settings.packs, enable_shell=settings.enable_shell, folders=[Path(folder) for folder in settings.folders]
        )
        ready = _ready(catalogue)
    except Exception as error:
        traceback.print_exc()
        link.sendall(encode_frame([Broken(f"{type(error).__name__}: {error}")]))
        return 1
    gc.collect()
    gc.freeze()
    with suppress(ConnectionError):
        link.sendall(encode_frame([ready]))
        Forge(link, settings, catalogue).serve()
    return 0


def _loader(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _ready(catalogue: Any) -> Ready:
    tools = [
        ToolInfo(name, version, tool.isolation, tool.min_isolation)
        for (name, version), tool in catalogue.functions.items()
    ]
    tools += [
        ToolInfo(name, version, "command", tool.min_isolation) for (name, version), tool in catalogue.commands.items()
    ]
    return Ready(tools, [msgspec.json.encode(definition) for definition in catalogue.definitions()])
