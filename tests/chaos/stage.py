"""Everything of a chaos run that lives: three servers, seven services, and a wire from each service to each server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
from pathlib import Path

import httpx
from jobyard_local.schemas import dsn_of, role_of
from jobyard_local.servers.kafka import Kafka
from jobyard_local.servers.postgres import Postgres
from jobyard_local.servers.server import Server
from jobyard_local.servers.set import server_environment
from jobyard_local.servers.sockets import forget_sockets, socket_folder
from jobyard_local.servers.valkey import Valkey

from tests.chaos.wires import Wires
from tests.support.cast import FAST_LEASES, SMALL, Cast, Ground, Kept, service_of

SERVICES = ("gateway-1", "gateway-2", "executor-1", "executor-2", "executor-3", "files-1", "monitor-1")
EXECUTORS = tuple(name for name in SERVICES if service_of(name) == "executor")
GATEWAYS = tuple(name for name in SERVICES if service_of(name) == "gateway")
ON_SMALL_DISK = ("executor-3", "files-1")
STEPPING = "executor-2"
DATABASE = "jobyard"
SMALL_DISK_MIB = 96


class Stage:
    """`disk` is the folder of the small disk, None where none can be mounted."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.servers: dict[str, Kept] = {}
        self.wires = Wires()
        self.disk: Path | None = None
        self.clock = home / "clock"
        self.cast: Cast
        self.ground: Ground
        self.key = ""
        self.foreign_key = ""

    @property
    def kept(self) -> dict[str, Kept]:
        """Services and servers by name."""
        return {**self.cast.kept, **self.servers}

    def data(self, name: str) -> Path:
        """The folder of an instance, wherever it is."""
        if self.disk is not None and name in ON_SMALL_DISK:
            return self.disk / name
        return self.cast.data(name)

    async def up(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        await self._servers()
        self.cast = Cast(self.home, ground=self.ground, settings={**FAST_LEASES, **SMALL, "JOBYARD_REPLICATED": "true"})
        for name in SERVICES:
            self.cast.add(name)
        await self.cast.lay_ground()
        self.key = await self.cast.mint_key()
        self.disk = self._small_disk()
        self.clock.write_text("0")
        await self._wire()
        await asyncio.gather(*(kept.start() for kept in self.cast.kept.values()))
        await self._until_tools_are_known()

    async def _until_tools_are_known(self) -> None:
        """Gateways learn them from a topic, which on a busy machine takes longer than their own start."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with asyncio.timeout(180), httpx.AsyncClient(headers=headers, timeout=10, trust_env=False) as http:
            for name in GATEWAYS:
                status = 0
                while status != 200:
                    await asyncio.sleep(0.2)
                    status = (await http.get(f"{self.cast.url(name)}/v1/tools/test.count")).status_code

    async def down(self) -> None:
        with contextlib.suppress(AttributeError):
            await self.cast.stop()
        await self.wires.stop()
        await asyncio.gather(*(kept.stop() for kept in self.servers.values()))
        forget_sockets(socket_folder(self.home), home=self.home)
        if self.disk is not None:
            await asyncio.to_thread(_unmount, self.disk)

    async def _servers(self) -> None:
        env = server_environment(self.home, mark=secrets.token_hex(8))
        logs, sockets = self.home / "logs", socket_folder(self.home)
        # Twice the processes of a local stack, and connections of killed ones that PostgreSQL has yet to notice.
        postgres = Postgres(self.home, sockets=sockets, logs=logs, env=env, settings="max_connections = 200\n")
        valkey = Valkey(self.home, sockets=sockets, logs=logs, env=env)
        kafka = Kafka(self.home, logs=logs, env=env, say=print)
        await asyncio.gather(*(self._server(server) for server in (postgres, valkey, kafka)))
        self.ground = Ground(dsn_of(postgres.dsn(), database=DATABASE), kafka.bootstrap, valkey.url)

    async def _server(self, server: Server) -> None:
        await server.prepare()
        kept = self.servers[server.name] = Kept(server.name, server.program, server.answers)
        await kept.start()

    async def _wire(self) -> None:
        """Each service reaches PostgreSQL and Kafka through proxies of its own; executors share one address."""
        host, _, port = self.ground.kafka.partition(":")
        await self.wires.start()
        everybody = await self.wires.to_any("executors", [self.cast.ports[name] for name in EXECUTORS])
        for name in SERVICES:
            database = await self.wires.to_unix(f"{name}>postgres", self.ground.socket)
            broker = await self.wires.to_kafka(f"{name}>kafka", host, int(port))
            place = f"{role_of(service_of(name))}@127.0.0.1:{database}"
            self.cast.special[name] = {
                "JOBYARD_POSTGRES_DSN": f"postgresql://{place}/{DATABASE}?sslmode=disable",
                "JOBYARD_KAFKA_BOOTSTRAP": f"127.0.0.1:{broker}",
                "JOBYARD_EXECUTOR_URL": f"http://127.0.0.1:{everybody}",
            }
        for name in ON_SMALL_DISK if self.disk is not None else ():
            self.cast.special[name] |= {
                "JOBYARD_DATA_DIR": str(self.data(name)),
                "JOBYARD_DISK_FLOOR_BYTES": "1048576",
            }
            self.data(name).mkdir(mode=0o700, exist_ok=True)
        clock = {"JOBYARD_CHAOS_CLOCK": str(self.clock), "PYTHONPATH": _path(Path(__file__).with_name("clock"))}
        self.cast.special[STEPPING] |= clock

    def _small_disk(self) -> Path | None:
        place = self.home / "small-disk"
        place.mkdir(exist_ok=True)
        size = f"size={SMALL_DISK_MIB}m,mode=0700"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "jobyard-chaos", str(place)], check=False, capture_output=True
        )
        return place if mounted.returncode == 0 else None


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def _path(folder: Path) -> str:
    """In front of what is on PYTHONPATH already."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
