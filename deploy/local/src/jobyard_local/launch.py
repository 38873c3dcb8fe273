"""A stack from nothing to ready, and back.

take the home ─► Kafka ──────► topics ──────────────┐
              ├► PostgreSQL ─► roles, schemas ─► migrations ─► first API key
              └► Valkey ────────────────────────────┴─► four services ─► stack.json
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobyard import AsyncClient
from jobyard.errors import JobyardError
from jobyard_common.messaging.topics import ensure_topics

from jobyard_local import first_start, schemas
from jobyard_local.console import Console
from jobyard_local.errors import ServerFailed, StackError
from jobyard_local.home import Home, write_private
from jobyard_local.process import Identity, end_all, marked, started_at
from jobyard_local.servers.kafka import Kafka, one_speaks_kafka
from jobyard_local.servers.ports import free_port, require_free
from jobyard_local.servers.postgres import Postgres
from jobyard_local.servers.server import Server
from jobyard_local.servers.set import server_environment
from jobyard_local.servers.sockets import forget_sockets, socket_folder
from jobyard_local.servers.valkey import Valkey
from jobyard_local.services import DATABASE, SERVICES, Surroundings, answers
from jobyard_local.supervisor import Charge, Supervisor

DEFAULT_PORT = 8080
SETTLE_S = 5.0
STOP_LIMIT_S = 18.5
FIRST_WAVE_S = 9.0
SECOND_WAVE_S = 3.0
TITLES = {"kafka": "Apache Kafka", "postgres": "PostgreSQL", "valkey": "Valkey"}


class Launch:
    """One stack in one home; `up` once, then `down` or `kill` once."""

    def __init__(self, home: Home, *, console: Console, port: int) -> None:
        self.home = home
        self._console = console
        self._wanted_port = port
        self._mark = secrets.token_hex(8)
        self._supervisor = Supervisor(say=console.step, changed=self._write_files)
        self._surroundings: Surroundings | None = None
        self._ready_at: datetime | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    async def up(self) -> None:
        """Start everything; the stack file is there when this returns. Raises a `StackError`; then call `down`."""
        self.home.acquire()
        self._console.log_to(self.home.logs / "launcher.log")
        self._console.step(f"starting in {self.home.path}")
        self._sweep()
        ports = self._choose_ports()
        self._start_watch()
        env = server_environment(self.home.path, mark=self._mark)
        sockets = socket_folder(self.home.path)
        postgres = Postgres(self.home.path, sockets=sockets, logs=self.home.logs, env=env)
        valkey = Valkey(self.home.path, sockets=sockets, logs=self.home.logs, env=env)
        kafka = Kafka(self.home.path, logs=self.home.logs, env=env, say=self._console.step)
        try:
            async with asyncio.TaskGroup() as group:
                broker = group.create_task(self._kafka(kafka))
                group.create_task(self._server(valkey))
                await self._server(postgres)
                await first_start.make_database(postgres.dsn())
                around = Surroundings(self.home, postgres.dsn(), "", valkey.url, ports, self._mark)
                await first_start.migrate(around, say=self._console.step)
                bootstrap = await broker
                self._surroundings = Surroundings(self.home, postgres.dsn(), bootstrap, valkey.url, ports, self._mark)
            async with asyncio.TaskGroup() as group:
                group.create_task(first_start.mint_key(self.home, self._surroundings))
                for service in SERVICES:
                    group.create_task(self._service(service, self._surroundings))
        except BaseExceptionGroup as failures:
            raise first_of(failures) from failures
        await self._until_all_is_well()
        self._ready_at = datetime.now(UTC)
        self._write_files()
        self._console.step("the stack is ready")

    @property
    def started(self) -> bool:
        """Whether there is a process to stop."""
        return bool(self._supervisor.identities())

    @property
    def gateway_url(self) -> str:
        if self._surroundings is None:
            raise StackError("the stack is not started")
        return self._surroundings.url("gateway")

    def _sweep(self) -> None:
        """End what a killed launcher left behind; it had this home, and we hold its lock now."""
        left = [one for one in self.home.left_running().values() if one.pid != os.getpid() and one.alive()]
        if left:
            self._console.step(f"ending {len(left)} processes that an earlier launch left")
            end_all(left, timeout_s=5)
        self.home.forget_running()

    def _choose_ports(self) -> dict[str, int]:
        kept, ports = self.home.ports(), dict[str, int]()
        if self._wanted_port:
            require_free(self._wanted_port, setting="JOBYARD_PORT")
            ports["gateway"] = self._wanted_port
        for service in SERVICES:
            if service not in ports:
                ports[service] = free_port(kept.get(service, 0), but=ports.values())
        self.home.keep_ports(ports)
        return ports

    def _start_watch(self) -> None:
        script = Path(__file__).with_name("watch.py")
        self._watch = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )

    async def _kafka(self, kafka: Kafka) -> str:
        """The bootstrap address of our broker or the user's, with every topic in place."""
        given = os.environ.get("JOBYARD_KAFKA")
        if given:
            if not await one_speaks_kafka(given, timeout_s=10):
                raise ServerFailed(f"no Kafka answers at JOBYARD_KAFKA={given}; start it, or unset the variable")
            self._console.step(f"using the broker at {given}")
            bootstrap = given
        else:
            await self._server(kafka)
            bootstrap = kafka.bootstrap
        began = time.monotonic()
        created = await ensure_topics(bootstrap, prefix=os.environ.get("JOBYARD_TOPIC_PREFIX", ""))
        if created:
            self._console.step(f"{len(created)} topics created ({time.monotonic() - began:.1f} s)")
        return bootstrap

    async def _server(self, server: Server) -> None:
        began = time.monotonic()
        await server.prepare()
        charge = Charge(
            name=server.name,
            program=server.program,
            answers=server.answers,
            ended=lambda clean: server.stopped(clean=clean),
        )
        await self._supervisor.start(charge)
        self._console.step(f"{TITLES[server.name]} is ready ({time.monotonic() - began:.1f} s)")

    async def _service(self, service: str, around: Surroundings) -> None:
        seconds = await self._supervisor.start(
            Charge(
                name=service,
                program=lambda: around.program(service),
                answers=lambda: answers(around.url(service), "/readyz"),
            )
        )
        self._console.step(f"{service} is ready at {around.url(service)} ({seconds:.1f} s)")

    async def _until_all_is_well(self) -> None:
        """The stack's own view of itself follows by heartbeats, so it may lag behind the services' readiness."""
        status = "unknown"
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(SETTLE_S),
                AsyncClient(self.gateway_url, api_key=self.home.api_key(), resume=False) as client,
            ):
                while status != "ok":
                    with contextlib.suppress(JobyardError):
                        status = str((await client.system()).get("status"))
                    await asyncio.sleep(0.0 if status == "ok" else 0.1)
        if status != "ok":
            self._console.step(f"GET /v1/system says {status}; the services' logs are in {self.home.logs}")

    def _write_files(self) -> None:
        mine = Identity(os.getpid(), started_at(os.getpid()) or 0)
        identities = {"launcher": mine, **self._supervisor.identities()}
        told = {name: [one.pid, one.started] for name, one in identities.items()}
        write_private(self.home.processes_file, json.dumps({"identities": told}))
        if self._ready_at is not None and self._surroundings is not None:
            write_private(self.home.stack_file, json.dumps(self._document(told), indent=1) + "\n")

    def _document(self, identities: dict[str, list[int]]) -> dict[str, Any]:
        around, pid = self._surroundings, self._supervisor.pid
        assert around is not None
        assert self._ready_at is not None
        return {
            "version": 1,
            "started_at": self._ready_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "gateway_url": around.url("gateway"),
            "api_key": self.home.api_key(),
            "console_url": f"{around.url('gateway')}/docs",
            "broker": {"kind": "kafka", "bootstrap": around.kafka, "pid": pid("kafka")},
            "postgres": {
                "dsn": schemas.dsn_of(around.postgres, database=DATABASE),
                "pid": pid("postgres"),
                "schemas": list(SERVICES),
            },
            "redis": {"url": around.valkey, "pid": pid("valkey")},
            "services": [
                {"name": service, "pid": pid(service), "health_url": around.url(service)} for service in SERVICES
            ],
            "logs": str(self.home.logs),
            "identities": identities,
        }

    async def down(self) -> None:
        """Services drain first, then the servers end; 20 s at most, then what is left is killed."""
        deadline = time.monotonic() + STOP_LIMIT_S
        self._ready_at = None
        self.home.stack_file.unlink(missing_ok=True)
        killed = await self._supervisor.stop(("gateway", "executor"), timeout_s=FIRST_WAVE_S)
        killed += await self._supervisor.stop(("files", "monitor"), timeout_s=SECOND_WAVE_S)
        left_s = max(1.0, deadline - time.monotonic())
        killed += await self._supervisor.stop(("kafka", "postgres", "valkey"), timeout_s=left_s)
        for name in killed:
            self._console.step(f"{name} did not end in time and was killed")
        self._finish()

    def kill(self) -> None:
        """At once, without order."""
        self._supervisor.kill_all()
        self._finish()

    def _finish(self) -> None:
        strays = [Identity(pid, started_at(pid) or 0) for pid in marked(self._mark)]
        end_all(strays, timeout_s=0.5)
        forget_sockets(socket_folder(self.home.path), home=self.home.path)
        self.home.forget_running()
        if self._watch is not None and self._watch.stdin is not None:
            self._watch.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watch.wait(timeout=3)
        self.home.release()


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to tell: our own errors before others, cancellations last."""
    flat: list[BaseException] = []
    for failure in failures.exceptions:
        flat.append(first_of(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    return min(flat, key=lambda one: (not isinstance(one, StackError), isinstance(one, asyncio.CancelledError)))
