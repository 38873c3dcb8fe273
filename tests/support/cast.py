"""Processes of a test that kills them: services with an environment each, servers, and their restarts."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from jobyard_common.messaging.topics import ensure_topics
from jobyard_local import schemas
from jobyard_local.process import LAUNCH_MARK, Identity, Process, Program, end_all, marked, run, start, started_at
from jobyard_local.servers.ports import free_port
from jobyard_local.servers.server import until_ready
from jobyard_local.services import answers

FAST_LEASES = {"JOBYARD_LEASE_TTL_S": "3", "JOBYARD_LEASE_BEAT_S": "1", "JOBYARD_LEASE_TRUST_S": "2"}
SMALL = {
    "JOBYARD_TOOL_PACKS": "test",
    "JOBYARD_ASYNC_WORKERS": "1",
    "JOBYARD_ASYNC_SLOTS": "100",
    "JOBYARD_PROCESS_SLOTS": "2",
    "JOBYARD_COMMAND_SLOTS": "1",
    "JOBYARD_LOG_LEVEL": "warning",
    "OTEL_TRACES_SAMPLER": "always_off",
}


@dataclass(frozen=True)
class Ground:
    """The servers as the tests reach them: a superuser's DSN of the database, Kafka, Valkey, the topics' prefix."""

    postgres: str
    kafka: str
    valkey: str
    prefix: str = ""

    @property
    def database(self) -> str:
        return urlsplit(self.postgres).path.lstrip("/")

    @property
    def socket(self) -> str:
        """PostgreSQL's unix socket."""
        return parse_qs(urlsplit(self.postgres).query)["host"][0] + "/.s.PGSQL.5432"


@dataclass
class Kept:
    """One process that is started again whenever it ends, unless it is held. `ends` are (monotonic, exit code)."""

    name: str
    program: Callable[[], Program]
    answers: Callable[[], Awaitable[bool]]
    pause_s: float = 0.3
    process: Process | None = None
    ends: list[tuple[float, int]] = field(default_factory=list)
    _watch: asyncio.Task[None] | None = None
    _free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._free.set()

    def hold(self) -> None:
        """From now on an end is left as it is."""
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self, *, timeout_s: float = 120) -> None:
        """Returns once it serves."""
        self.process = await start(self.program())
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep(), name=f"keep {self.name}")
        await until_ready(self.process, self.answers, timeout_s=timeout_s)

    async def _keep(self) -> None:
        while True:
            process = self.process
            assert process is not None
            code = await process.wait()
            self.ends.append((time.monotonic(), code))
            await asyncio.sleep(self.pause_s)
            await self._free.wait()
            if self.process is process:
                self.process = await start(self.program())

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self.process is not None:
            await self.process.stop()


class Cast:
    """The services of one test. Each instance has a port, a folder, a log and, where wanted, addresses of its own."""

    def __init__(self, home: Path, *, ground: Ground, settings: Mapping[str, str]) -> None:
        self.home = home
        self.ground = ground
        self.mark = secrets.token_hex(8)
        self.kept: dict[str, Kept] = {}
        self.ports: dict[str, int] = {}
        self.special: dict[str, dict[str, str]] = {}
        """More environment by instance, read at each start."""
        self._settings = dict(settings)
        self.token = secrets.token_hex(16)
        home.mkdir(parents=True, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)

    async def lay_ground(self, *, partitions: Mapping[str, int] | None = None) -> None:
        """Database, schemas and topics."""
        dsn, database = self.ground.postgres, self.ground.database
        server = schemas.dsn_of(dsn, database="postgres")
        await schemas.ensure_roles(server)
        await schemas.ensure_database(server, database=database)
        await schemas.ensure_schemas(server, database=database)
        await ensure_topics(self.ground.kafka, prefix=self.ground.prefix, partitions=partitions)
        codes = await asyncio.gather(*(self.once(service, "migrate") for service in schemas.SERVICES))
        assert codes == [0, 0, 0, 0], f"migrations ended with {codes}; see {self.home}/logs"

    async def once(self, service: str, *arguments: str, **special: str) -> int:
        """Run a command of a service to its end."""
        program = self._program(service, service, *arguments)
        return await run(_with(program, special), timeout_s=90)

    async def mint_key(self) -> str:
        log = self.home / "logs" / "gateway-mint-key.log"
        log.unlink(missing_ok=True)
        assert await self.once("gateway", "mint-key") == 0, log.read_text()
        told = json.loads(log.read_text().splitlines()[-1])
        log.unlink()
        return str(told["key"])

    def add(self, name: str) -> Kept:
        """An instance such as `executor-2`; not started yet."""
        service = service_of(name)
        self.ports[name] = free_port(but=self.ports.values())
        url = self.url(name)
        kept = Kept(name, lambda: self._program(service, name), lambda: answers(url, "/readyz"))
        self.kept[name] = kept
        return kept

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def data(self, name: str) -> Path:
        return self.home / name

    async def stop(self) -> None:
        """Everything that this cast started, also what a killed service left behind."""
        await asyncio.gather(*(kept.stop() for kept in self.kept.values()))
        end_all([Identity(pid, started_at(pid) or 0) for pid in marked(self.mark)], timeout_s=0.5)

    def _program(self, service: str, name: str, *arguments: str) -> Program:
        self.data(name).mkdir(mode=0o700, exist_ok=True)
        return Program(
            name="-".join([name, *arguments]),
            argv=[sys.executable, "-m", f"jobyard_{service}", *arguments],
            log=self.home / "logs" / f"{'-'.join([name, *arguments])}.log",
            env=self._environment(service, name),
            cwd=self.data(name),
            stop_timeout_s=8,
        )

    def _environment(self, service: str, name: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JOBYARD_", "OTEL_", "PYTHONWARN"))}
        addresses = {f"JOBYARD_{s.upper()}_URL": self.url(f"{s}-1") for s in schemas.SERVICES if f"{s}-1" in self.ports}
        return {
            **inherited,
            **addresses,
            "JOBYARD_PUBLIC_URL": self.url("gateway-1") if "gateway-1" in self.ports else "http://127.0.0.1:1",
            "JOBYARD_POSTGRES_DSN": schemas.dsn_of(
                self.ground.postgres, database=self.ground.database, user=schemas.role_of(service)
            ),
            "JOBYARD_KAFKA_BOOTSTRAP": self.ground.kafka,
            "JOBYARD_TOPIC_PREFIX": self.ground.prefix,
            "JOBYARD_VALKEY_URL": self.ground.valkey,
            "JOBYARD_HTTP_PORT": str(self.ports.get(name, 0)),
            "JOBYARD_SERVICE_TOKEN": self.token,
            "JOBYARD_DATA_DIR": str(self.data(name)),
            "JOBYARD_INSTANCE_ID": name,
            "PYTHONUNBUFFERED": "1",
            LAUNCH_MARK: self.mark,
            **self._settings,
            **self.special.get(name, {}),
        }


def service_of(name: str) -> str:
    return name.partition("-")[0]


def _with(program: Program, special: Mapping[str, str]) -> Program:
    return Program(
        name=program.name, argv=program.argv, log=program.log, env={**program.env, **special}, cwd=program.cwd
    )
