"""The three servers together: started in parallel, watched, stopped in order."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobyard_local.process import LAUNCH_MARK, Process, start
from jobyard_local.servers.kafka import Kafka
from jobyard_local.servers.postgres import Postgres
from jobyard_local.servers.server import Server, until_ready
from jobyard_local.servers.sockets import forget_sockets, socket_folder
from jobyard_local.servers.valkey import Valkey

READY_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Addresses:
    """Where the servers are: a superuser's DSN, Kafka's bootstrap, Valkey's URL."""

    postgres: str
    kafka: str
    valkey: str


class ServerSet:
    """Kafka, PostgreSQL and Valkey with their data below one home."""

    def __init__(self, home: Path, *, say: Callable[[str], None], postgres_settings: str = "") -> None:
        env = server_environment(home, mark=secrets.token_hex(8))
        logs, sockets = home / "logs", socket_folder(home)
        self.postgres = Postgres(home, sockets=sockets, logs=logs, env=env, settings=postgres_settings)
        self.kafka = Kafka(home, logs=logs, env=env, say=say)
        self.valkey = Valkey(home, sockets=sockets, logs=logs, env=env)
        self._home, self._sockets = home, sockets
        self._running: list[tuple[Server, Process]] = []

    async def start(self) -> Addresses:
        """Start all three; raises a `StackError` after stopping those that had started."""
        try:
            async with asyncio.TaskGroup() as group:
                for server in (self.kafka, self.postgres, self.valkey):
                    group.create_task(self._start(server))
        except BaseExceptionGroup as failures:
            await self.stop()
            raise failures.exceptions[0] from failures
        return Addresses(self.postgres.dsn(), self.kafka.bootstrap, self.valkey.url)

    async def _start(self, server: Server) -> None:
        await server.prepare()
        process = await start(server.program())
        self._running.append((server, process))
        await until_ready(process, server.answers, timeout_s=READY_TIMEOUT_S)

    async def stop(self) -> None:
        await asyncio.gather(*(_stop(server, process) for server, process in self._running))
        self._running.clear()
        forget_sockets(self._sockets, home=self._home)

    async def wait(self) -> str:
        """Return the name of the first server that ends."""
        tasks = {asyncio.create_task(process.wait()): server.name for server, process in self._running}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return tasks[done.pop()]


async def _stop(server: Server, process: Process) -> None:
    server.stopped(clean=await process.stop())


def server_environment(home: Path, *, mark: str) -> dict[str, str]:
    """What a server sees: the way to programs, the home it belongs to, and the mark of this launch."""
    passed = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG", "TZ") if name in os.environ}
    return passed | {"HOME": str(home), "JOBYARD_HOME": str(home), LAUNCH_MARK: mark}
