"""Start in order, drain on a signal, stop in reverse order, and never leave a task that nobody owns.

A component whose background task ends by an error brings the whole process down with exit code 1: whoever started it
starts it again. Half a service is worse than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any

from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.logging import get_logger

log = get_logger("supervisor")


class Component:
    """A part of a service. Each method may be called again, and before the one that should come first."""

    name = "component"

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.on_failure: Callable[[str, BaseException], None] | None = None

    async def start(self) -> None:
        """Begin to work; must not wait for servers that may be away."""

    async def drain(self) -> None:
        """Take no new work and finish what is in hand."""

    async def stop(self) -> None:
        """End; what is still running is cancelled."""
        await self.cancel_tasks()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `work` as a task that this component owns."""
        task = asyncio.create_task(work, name=f"{self.name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error: BaseException | None
        if task.cancelled():
            # A library may cancel the task that waits for it; a loop that ended so is as dead as one that raised.
            error = None if self._stopping else RuntimeError("cancelled by nobody of ours")
        else:
            error = task.exception()
        if error is not None:
            log.error("task.failed", task=task.get_name(), exc_info=error)
            if self.on_failure is not None:
                self.on_failure(task.get_name(), error)

    async def cancel_tasks(self) -> None:
        self._stopping = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


def _calm_collector() -> None:
    """Batches allocate many small objects that die young without cycles: look for cycles less often (−10 % CPU)."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def run_service(
    components: Sequence[Component], *, readiness: Readiness, drain_s: float = 30.0, stop_s: float = 5.0
) -> int:
    """Run until SIGTERM, SIGINT or a failed component; returns the exit code.

    `drain_s` bounds the drain of each component, `stop_s` its stop, in seconds.
    """
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def failed(_task: str, _error: BaseException) -> None:
        end(1)

    with _signals(lambda: end(0)):
        started: list[Component] = []
        try:
            for component in components:
                component.on_failure = failed
                started.append(component)
                await component.start()
            readiness.started = True
            _calm_collector()
            log.info("service.ready")
            code = await ended
        except Exception:
            log.exception("service.start_failed")
            code = 1
        readiness.draining = True
        log.info("service.draining", code=code)
        for component in reversed(started):
            await _bounded(component.drain(), drain_s, component.name, "drain")
        for component in reversed(started):
            await _bounded(component.stop(), stop_s, component.name, "stop")
    return code


async def _bounded(step: Coroutine[Any, Any, None], limit_s: float, name: str, what: str) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await step
    except TimeoutError:
        log.warning("service.step_late", component=name, step=what, limit_s=limit_s)
    except Exception:
        log.exception("service.step_failed", component=name, step=what)


@contextlib.contextmanager
def _signals(end: Callable[[], None]) -> Any:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGUSR2, _log_tasks)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            loop.remove_signal_handler(number)
        # What still closes after us must not be killed by somebody who asks what it waits for.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _log_tasks() -> None:
    """SIGUSR2: what every task of this process waits for, for whoever looks at a service that stands still."""
    for task in asyncio.all_tasks():
        lines = [f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" for frame in _frames(task)]
        log.warning("task.waits", task=task.get_name(), stack=lines)


def _frames(task: asyncio.Task[Any]) -> list[FrameType]:
    """From the outermost coroutine to the innermost, through every await."""
    found: list[FrameType] = []
    waiting: Any = task.get_coro()
    while waiting is not None and (frame := getattr(waiting, "cr_frame", None)) is not None:
        found.append(frame)
        waiting = getattr(waiting, "cr_await", None)
    return found
