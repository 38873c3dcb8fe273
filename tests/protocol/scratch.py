"""A server of a test's own, whose data can be put back to an earlier day."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from jobyard_local.process import Process, start
from jobyard_local.servers.kafka import Kafka
from jobyard_local.servers.postgres import Postgres
from jobyard_local.servers.server import Server, until_ready
from jobyard_local.servers.set import server_environment
from jobyard_local.servers.sockets import forget_sockets, socket_folder


class Scratch:
    """One server below a folder that is removed at the end."""

    def __init__(self, kind: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"jobyard-{kind}-"))
        self._sockets = socket_folder(self.home)
        env, logs = server_environment(self.home, mark="scratch"), self.home / "logs"
        self.postgres = Postgres(self.home, sockets=self._sockets, logs=logs, env=env, settings="fsync = off\n")
        self.kafka = Kafka(self.home, logs=logs, env=env, say=lambda _text: None)
        self._server: Server = self.postgres if kind == "postgres" else self.kafka
        self._data = self.home / ("postgres" if kind == "postgres" else "kafka/data")
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        forget_sockets(self._sockets, home=self.home)
        shutil.rmtree(self.home, ignore_errors=True)

    async def start(self) -> None:
        await self._server.prepare()
        self._process = await start(self._server.program())
        await until_ready(self._process, self._server.answers, timeout_s=90)

    async def stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            self._server.stopped(clean=await process.stop())

    async def keep(self) -> Path:
        """Copy the data as they are now."""
        await self.stop()
        kept = self.home / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._data, kept, symlinks=True)
        await self.start()
        return kept

    async def put_back(self, kept: Path, *, standby: bool = False) -> None:
        """Go on from an earlier copy; `standby`: as a server that has to be promoted."""
        await self.stop()
        shutil.rmtree(self._data)
        shutil.copytree(kept, self._data, symlinks=True)
        if standby:
            (self._data / "standby.signal").touch()
        await self.start()
