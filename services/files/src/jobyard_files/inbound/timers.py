"""The clock's part: sweeping now and then, and ending uploads cleanly when the service goes down."""

from __future__ import annotations

import asyncio

from jobyard_common.db.errors import is_retryable
from jobyard_common.runtime.supervisor import Component
from jobyard_common.telemetry.logging import get_logger

from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.handlers.sweep import Sweep

log = get_logger("timers")
DISK_EVERY = 60


class SweepTimer(Component):
    """Sweeps every `every_s` seconds, and looks through the disk every 60th time."""

    name = "sweeper"

    def __init__(self, sweep: Sweep, *, every_s: float) -> None:
        super().__init__()
        self._sweep = sweep
        self._every_s = every_s

    async def start(self) -> None:
        self.spawn(self._run(), name="run")

    async def _run(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._sweep()
                if rounds % DISK_EVERY == 0:
                    await self._sweep.disk()
            except Exception as error:
                if not is_retryable(error):
                    raise
                log.warning("sweep.interrupted", error=f"{type(error).__name__}: {error}"[:200])
            rounds += 1


class UploadGate(Component):
    """Drained before the server: running bodies are cut, their bytes recorded, their clients told to come again."""

    name = "uploads"

    def __init__(self, live: LiveUploads) -> None:
        super().__init__()
        self._live = live

    async def drain(self) -> None:
        await self._live.drain()
