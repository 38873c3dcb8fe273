"""The real process: migrate, serve, see a death, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import httpx
from jobyard_common.contracts import telemetry
from jobyard_common.contracts.envelope import encode, new_envelope
from jobyard_common.contracts.wire import encode as encode_body
from jobyard_common.contracts.wire import utc_now
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.publisher import OutRecord, Publisher
from jobyard_common.telemetry.context import new_trace
from jobyard_common.testing.eventually import eventually

HEADERS = {"Authorization": "Bearer secret", "X-Jobyard-Tenant": "tnt_default", "X-Jobyard-Actor": "key:k"}


class Service:
    """A monitor as the launcher starts it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {**os.environ, **environment}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "jobyard_monitor", *arguments]
        return subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=60, check=False)

    def __enter__(self) -> Service:
        self.process = subprocess.Popen([sys.executable, "-m", "jobyard_monitor"], env=self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Peer:
    """Another service, as far as the monitor sees it: a port and heartbeats."""

    def __init__(self, name: str, publisher: Publisher) -> None:
        self.name = name
        self._publisher = publisher

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def die(self) -> None:
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _beat(self) -> None:
        began = utc_now()
        while True:
            body = telemetry.Heartbeat(self.name, f"{self.name}-1", "0.1.0", began, utc_now(), "ok")
            envelope = new_envelope(
                telemetry.HEARTBEAT,
                source=f"/jobyard/{self.name}",
                subject=self.name,
                correlation_id="c",
                traceparent=new_trace(sampled=False).format(),
            )
            await self._publisher.send(OutRecord("logs", self.name, encode_body(body), encode(envelope)))
            await asyncio.sleep(2)


def test_from_migration_to_stop(database: Any, servers: Any, topic_prefix: str) -> None:
    async def go() -> None:
        publisher = Publisher(KafkaSettings(servers.kafka, "test", topic_prefix))
        await publisher.start()
        await publisher.connected()
        try:
            async with (
                Peer("gateway", publisher) as gateway,
                Peer("executor", publisher) as executor,
                Peer("files", publisher) as files,
            ):
                await live(gateway, executor, files)
        finally:
            await publisher.stop()

    async def live(gateway: Peer, executor: Peer, files: Peer) -> None:
        port = await asyncio.to_thread(free_port)
        service = Service(
            {
                "JOBYARD_POSTGRES_DSN": database.empty("monitor"),
                "JOBYARD_KAFKA_BOOTSTRAP": servers.kafka,
                "JOBYARD_TOPIC_PREFIX": topic_prefix,
                "JOBYARD_HTTP_PORT": str(port),
                "JOBYARD_SERVICE_TOKEN": "secret",
                "JOBYARD_INSTANCE_ID": "monitor-1",
                "JOBYARD_PUBLIC_URL": gateway.url,
                "JOBYARD_EXECUTOR_URL": executor.url,
                "JOBYARD_FILES_URL": files.url,
            }
        )
        migrated = await asyncio.to_thread(service.run, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        with service:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HEADERS) as http:

                async def status(name: str, wanted: str) -> bool:
                    try:
                        told = (await http.get("/v1/system")).json()
                    except httpx.TransportError:
                        return False
                    found = {row["name"]: row["status"] for row in told.get("services", [])}
                    return {**found, "whole": told.get("status")}.get(name) == wanted

                await eventually(lambda: status("whole", "ok"), what="all services ok", timeout_s=30)
                assert (await http.get("/readyz")).status_code == 200
                metrics = (await http.get("/metrics")).text
                assert "jobyard_consumed_records_total" in metrics

                died = time.monotonic()
                await executor.die()
                await eventually(lambda: status("executor", "down"), what="the death is seen", timeout_s=10)
                assert time.monotonic() - died < 4.5

                async def shipped() -> bool:
                    events = [
                        row["event"]
                        for row in (await http.get("/v1/logs", params={"service": "monitor"})).json()["data"]
                    ]
                    return "service.ready" in events

                await eventually(shipped, what="its own log in the log search", timeout_s=10)
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, 15) == 0
        rebuilt = await asyncio.to_thread(service.run, "rebuild")
        assert (rebuilt.returncode, rebuilt.stdout[:30]) == (0, "Rebuilding from jobs.events, f")

    asyncio.run(go())


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
