"""The executor as a process, on real servers: it starts, runs, tells Kafka, survives a kill, stops in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import SUBMIT, Actor, ActorKind, JobSpec, SubmitJob
from jobyard_common.contracts.topics import JOBS_EVENTS, JOBS_OUTPUT, TOOLS
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.publisher import OutRecord, Publisher
from jobyard_common.telemetry.context import new_trace
from jobyard_common.testing.eventually import eventually

TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}


class Executor:
    """A process of ours and what is around it."""

    def __init__(self, *, dsn: str, kafka: str, prefix: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.kafka = KafkaSettings(kafka, "test", prefix)
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "JOBYARD_POSTGRES_DSN": dsn,
            "JOBYARD_KAFKA_BOOTSTRAP": kafka,
            "JOBYARD_TOPIC_PREFIX": prefix,
            "JOBYARD_HTTP_PORT": str(self.port),
            "JOBYARD_SERVICE_TOKEN": TOKEN,
            "JOBYARD_DATA_DIR": str(folder / "data"),
            "JOBYARD_INSTANCE_ID": "executor-1",
            "JOBYARD_TOOL_PACKS": "test",
            "JOBYARD_DRAIN_GRACE_S": "0.5",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobyard_executor"], env=self._environment, stdout=log, stderr=log
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/internal/v1", headers=AUTH, trust_env=False)

    async def ready(self, http: httpx.AsyncClient) -> None:
        """Until it has workers that know the tools."""

        async def probe() -> bool:
            try:
                workers = (await http.get("/workers")).json()
            except httpx.TransportError:
                return False
            return any(row["alive"] and "test.noop@1" in row["tools"] for row in workers.get("data", []))

        await eventually(probe, what="a worker with the test pack", timeout_s=40, every_s=0.1)

    def submit(self, tool: str, parameters: bytes = b"{}") -> OutRecord:
        job_id = new_id("job")
        spec = JobSpec(tool, "1", "async", "L0", 60.0, parameters=msgspec.Raw(parameters))
        command = SubmitJob(new_id("cmd"), job_id, "tnt_test", Actor(ActorKind.KEY, "k"), datetime.now(UTC), spec)
        envelope = new_envelope(
            SUBMIT,
            source="test",
            subject=job_id,
            correlation_id="corr-1",
            traceparent=new_trace(sampled=False).format(),
        )
        return OutRecord("jobs.commands", job_id, msgspec.json.encode(command), headers_of(envelope))

    async def records(self, topic: Any) -> list[Any]:
        """Everything in a topic, as far as it goes now."""
        consumer = AIOKafkaConsumer(
            self.kafka.topic(topic), bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            found: list[Any] = []
            while sum(ends.values()) > len(found):
                for rows in (await consumer.getmany(timeout_ms=200)).values():
                    found += rows
            return found
        finally:
            await consumer.stop()


@pytest.fixture
def executor(database: Any, servers: Any, topic_prefix: str, tmp_path: Path) -> Iterator[Executor]:
    one = Executor(dsn=database("executor"), kafka=servers.kafka, prefix=topic_prefix, folder=tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


async def until_ended(http: httpx.AsyncClient, job_id: str, *, timeout_s: float = 40.0) -> dict[str, Any]:
    async def probe() -> dict[str, Any] | None:
        try:
            job = (await http.get(f"/jobs/{job_id}")).json()
        except httpx.TransportError:
            return None
        return job if job.get("state") in ("succeeded", "failed", "cancelled", "expired") else None

    return await eventually(probe, what=f"the end of {job_id}", timeout_s=timeout_s, every_s=0.05)


def play(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


def test_a_job_by_kafka_its_events_and_output_and_an_orderly_end(executor: Executor) -> None:
    async def scenario() -> None:
        executor.start()
        publisher = Publisher(executor.kafka)
        await publisher.start()
        await publisher.connected()
        async with executor.client() as http:
            await executor.ready(http)
            record = executor.submit("test.print", b'{"lines":3}')
            sent = await publisher.send(record)
            await publisher.send(record)
            after = {"X-Jobyard-After": f"{sent.partition}:{sent.offset}"}
            assert (await http.get(f"/jobs/{record.key}", headers=after)).status_code == 200
            job = await until_ended(http, str(record.key))
            assert job["state"] == "succeeded"
            result = (await http.get(f"/jobs/{record.key}/result")).json()
            assert result["stdout"] == "line 1\nline 2\nline 3\n"
        await publisher.stop()
        assert await asyncio.to_thread(executor.end, signal.SIGTERM) == 0
        events = [row for row in await executor.records(JOBS_EVENTS) if row.key == str(record.key).encode()]
        types = [dict(row.headers)["ce_type"].decode().split(".")[2] for row in events]
        assert types == ["queued", "started", "succeeded"]
        bodies = [msgspec.json.decode(row.value) for row in events]
        assert [body["event_no"] for body in bodies] == [1, 2, 3]
        assert bodies[-1]["job"] == job
        assert bodies[-1]["output_seq"] == 10**9 + 3
        packs = [msgspec.json.decode(row.value) for row in await executor.records(JOBS_OUTPUT)]
        lines = [line["message"] for pack in packs for line in pack["lines"] if line["stream"] == "stdout"]
        assert lines == ["line 1", "line 2", "line 3"]
        tools = {row.key.decode() for row in await executor.records(TOOLS)}
        assert {"test.noop@1", "table.profile@1"} <= tools

    play(scenario)


@pytest.mark.serial
def test_jobs_in_flight_survive_a_kill(executor: Executor) -> None:
    async def scenario() -> None:
        executor.start()
        publisher = Publisher(executor.kafka)
        await publisher.start()
        await publisher.connected()
        async with executor.client() as http:
            await executor.ready(http)
            records = [executor.submit("test.sleep", b'{"seconds":0.8}') for _ in range(40)]
            await publisher.send_many(records)

            async def running() -> bool:
                return bool((await http.get("/jobs", params={"state": "running"})).json()["data"])

            await eventually(running, what="a running job", timeout_s=20)
            await asyncio.to_thread(executor.end, signal.SIGKILL)
            executor.start()
            ends = [await until_ended(http, str(record.key)) for record in records]
            assert {job["state"] for job in ends} == {"succeeded"}
            assert {job["attempt"] for job in ends} <= {1, 2}
        await publisher.stop()
        assert await asyncio.to_thread(executor.end, signal.SIGTERM) == 0

    play(scenario)
