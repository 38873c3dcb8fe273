"""The process of an async worker: started by the forge, ends with the control process, whatever its tools do."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobyard_executor.worker import routed, trees
from jobyard_executor.worker.async_worker import AsyncWorker
from jobyard_executor.worker.slot import Functions


def run(link: socket.socket, functions: Functions) -> None:
    """Serve until the control process is gone; the process ends with it, whatever its tools do."""
    _settle(link)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    runner.run(_serve(link, functions))
    trees.sweep()


async def _serve(link: socket.socket, functions: Functions) -> None:
    loop = asyncio.get_running_loop()
    link.setblocking(False)
    _, worker = await loop.create_unix_connection(lambda: AsyncWorker(functions), sock=link)
    await worker.ended
    trees.sweep()
    os._exit(0)


def _settle(link: socket.socket) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _deaf)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("300")
    os.dup2(2, 1)
    routed.install()
    threading.Thread(target=_guard, args=(link.fileno(),), name="guard", daemon=True).start()


def _deaf(*_: object) -> None:
    """We end with our link; unlike an ignored signal, a handler is not inherited by what tools start."""


def _guard(descriptor: int) -> None:
    """End this process with the control process, even when a tool holds the loop."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP | select.POLLRDHUP)
    poll.poll()
    time.sleep(0.3)
    trees.sweep()
    os._exit(0)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
