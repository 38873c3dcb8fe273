"""The four services as processes: their environment, their health."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobyard_local.home import Home
from jobyard_local.process import LAUNCH_MARK, Program
from jobyard_local.schemas import SERVICES, dsn_of, role_of
from jobyard_local.servers.ports import HOST

DATABASE = "jobyard"
DRAIN_GRACE_S = "5"
"""Running tools get this long when the stack stops; the whole stop takes 20 s at most."""
NOT_PASSED = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR", "PYTHONWARNINGS")


@dataclass(frozen=True)
class Surroundings:
    """What all services of a stack share."""

    home: Home
    postgres: str
    kafka: str
    valkey: str
    ports: Mapping[str, int]
    mark: str

    def url(self, service: str) -> str:
        return f"http://{HOST}:{self.ports[service]}"

    def environment(self, service: str) -> dict[str, str]:
        """The user's own variables, then what this stack decides."""
        digest = hashlib.sha256(os.fsencode(self.home.path)).hexdigest()[:8]
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
        return (
            {"JOBYARD_DRAIN_GRACE_S": DRAIN_GRACE_S}
            | inherited
            | {
                "JOBYARD_HOME": str(self.home.path),
                "JOBYARD_POSTGRES_DSN": dsn_of(self.postgres, database=DATABASE, user=role_of(service)),
                "JOBYARD_KAFKA_BOOTSTRAP": self.kafka,
                "JOBYARD_VALKEY_URL": self.valkey,
                "JOBYARD_HTTP_HOST": HOST,
                "JOBYARD_HTTP_PORT": str(self.ports[service]),
                "JOBYARD_PUBLIC_URL": self.url("gateway"),
                "JOBYARD_EXECUTOR_URL": self.url("executor"),
                "JOBYARD_FILES_URL": self.url("files"),
                "JOBYARD_MONITOR_URL": self.url("monitor"),
                "JOBYARD_SERVICE_TOKEN_FILE": str(self.home.service_token_file()),
                "JOBYARD_DATA_DIR": str(self.data(service)),
                "JOBYARD_INSTANCE_ID": f"{service}-{digest}",
                "PYTHONUNBUFFERED": "1",
                LAUNCH_MARK: self.mark,
            }
        )

    def data(self, service: str) -> Path:
        return self.home.path / service

    def program(self, service: str, *arguments: str) -> Program:
        """`python -m jobyard_<service>`, with its own folder as working directory."""
        self.data(service).mkdir(mode=0o700, exist_ok=True)
        name = "-".join([service, *arguments])
        return Program(
            name=name,
            argv=[sys.executable, "-m", f"jobyard_{service}", *arguments],
            log=self.home.logs / f"{name}.log",
            env=self.environment(service),
            cwd=self.data(service),
            stop_timeout_s=8,
        )


async def answers(url: str, path: str) -> bool:
    """Whether it says 200, within 2 s."""
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]


__all__ = ["DATABASE", "SERVICES", "Surroundings", "answers"]
