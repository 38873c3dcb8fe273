"""The forge's process and socket, seen from the control process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import msgspec

from jobyard_executor.outbound.runner.settings import RunnerSettings, environment_of_workers
from jobyard_executor.worker.messages import (
    Broken,
    Fork,
    Forked,
    FrameError,
    FrameReader,
    Message,
    Ready,
    encode_frame,
)

START_S = 60.0
END_S = 5.0


class RunnerBroken(Exception):
    """The tools cannot be loaded; the message says which and why. The executor must not start."""


class ForgeLink:
    """One forge, from its start to its end."""

    def __init__(self, settings: RunnerSettings, *, on_forked: Callable[[int, int], None], on_lost: Callable[[], None]):
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._on_forked = on_forked
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Ready:
        """Raises RunnerBroken."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        arguments = [str(theirs.fileno()), msgspec.json.encode(self._settings.for_workers()).decode()]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a few milliseconds, once
            [sys.executable, "-m", "jobyard_executor.worker", *arguments],
            pass_fds=[theirs.fileno()],
            env=environment_of_workers(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=2,
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self._socket = ours
        self._loop.add_reader(ours, self._hear)
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), START_S)
        except TimeoutError as error:
            raise RunnerBroken(f"the tools were not loaded within {START_S:.0f} s") from error

    def fork(self, number: int, kind: str, sock: socket.socket) -> None:
        """Ask for a worker that owns the other end of `sock`'s pair. Raises OSError when the forge is gone."""
        if self._socket is None:
            raise ConnectionError("the forge is gone")
        socket.send_fds(self._socket, [encode_frame([Fork(number, kind)])], [sock.fileno()])

    async def stop(self) -> None:
        """Close the socket, which ends the forge and all it made; wait for that."""
        self._forget()
        process = self._process
        if process is None or process.poll() is not None:
            return
        try:
            await asyncio.to_thread(process.wait, END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(256 * 1024)
            messages = self._reader.feed(data) if data else []
        except BlockingIOError:
            return
        except (ConnectionError, FrameError):
            data, messages = b"", []
        for message in messages:
            self._take(message)
        if not data:
            self._gone()

    def _take(self, message: Message) -> None:
        if isinstance(message, Ready) and not self._ready.done():
            self._ready.set_result(message)
        elif isinstance(message, Broken) and not self._ready.done():
            self._ready.set_exception(RunnerBroken(message.message))
        elif isinstance(message, Forked):
            self._on_forked(message.number, message.pid)

    def _gone(self) -> None:
        self._forget()
        if self._ready.done():
            self._on_lost()
        else:
            self._ready.set_exception(RunnerBroken("the process that loads the tools ended at its start"))

    def _forget(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
