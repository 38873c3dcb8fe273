"""Three executors are replaced one after the other under load, and nobody who submitted a job can tell."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import CANCEL, SUBMIT, Actor, ActorKind, CancelJob, JobSpec, Retry, SubmitJob
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent
from jobyard_common.telemetry.context import new_trace
from jobyard_common.testing.eventually import eventually

pytestmark = [pytest.mark.serial, pytest.mark.timeout(400)]
TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}
EVERY_S = 0.25
MIX = [
    *((f"test.sleep{suffix}", suffix, {"seconds": 0.2}) for suffix in ("", "", "", "", "")),
    ("test.noop", "", {}),
    ("test.noop", "", {}),
    ("test.sleep.process", ".process", {"seconds": 0.1}),
]
LONG = [(f"test.sleep{suffix}", suffix, {"seconds": 6, "steps": 60}) for suffix in ("", ".process", ".command")]
"""Longer than the grace of a drain: these are handed back and run again."""
ISOLATION = {"": "async", ".process": "process", ".command": "command"}


class Fleet:
    """Executors of one deployment, each with a name, a port and a folder of its own."""

    def __init__(self, *, dsn: str, kafka: str, prefix: str, folder: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "JOBYARD_POSTGRES_DSN": dsn,
            "JOBYARD_KAFKA_BOOTSTRAP": kafka,
            "JOBYARD_TOPIC_PREFIX": prefix,
            "JOBYARD_SERVICE_TOKEN": TOKEN,
            "JOBYARD_TOOL_PACKS": "test",
            "JOBYARD_DRAIN_GRACE_S": "1",
        }
        self._folder = folder
        self._ports: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._ports[name] = free.getsockname()[1]
        own = {
            "JOBYARD_INSTANCE_ID": name,
            "JOBYARD_HTTP_PORT": str(self._ports[name]),
            "JOBYARD_DATA_DIR": str(self._folder / name),
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "jobyard_executor"], env=self._environment | own, stdout=log, stderr=log
            )

    async def replace(self, name: str) -> int:
        """Ask it to stop, as a deployment does, and start its successor; returns the exit code."""
        process = self._running[name]
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 60)
        self.start(name)
        await self.ready(name)
        return code

    async def ready(self, name: str) -> None:
        async def probe() -> bool:
            try:
                async with httpx.AsyncClient(headers=AUTH, trust_env=False) as http:
                    answer = await http.get(f"http://127.0.0.1:{self._ports[name]}/internal/v1/workers")
                    rows = answer.json().get("data", [])
            except httpx.TransportError:
                return False
            return any(row["alive"] and row["instance"] == name and "test.noop@1" in row["tools"] for row in rows)

        await eventually(probe, what=f"{name} offers its tools", timeout_s=90, every_s=0.2)

    def kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].wait()

    def end(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def fleet(database: Any, servers: Any, topic_prefix: str, tmp_path: Path) -> Iterator[tuple[Fleet, str, KafkaSettings]]:
    dsn = database("executor")
    found = Fleet(dsn=dsn, kafka=servers.kafka, prefix=topic_prefix, folder=tmp_path)
    yield found, dsn, KafkaSettings(servers.kafka, "test", topic_prefix)
    found.end()


def submit(tool: str, suffix: str, parameters: dict[str, Any]) -> OutRecord:
    job_id = new_id("job")
    spec = JobSpec(
        tool, "1", ISOLATION[suffix], "L0", 60.0,
        parameters=msgspec.Raw(json.dumps(parameters).encode()), retry=Retry(max_attempts=1),
    )  # fmt: skip
    command = SubmitJob(new_id("cmd"), job_id, "tnt_test", Actor(ActorKind.KEY, "k"), datetime.now(UTC), spec)
    envelope = new_envelope(
        SUBMIT, source="test", subject=job_id, correlation_id="c", traceparent=new_trace(sampled=False).format()
    )
    return OutRecord("jobs.commands", job_id, msgspec.json.encode(command), headers_of(envelope))


def cancel(job_id: str) -> OutRecord:
    command = CancelJob(new_id("cmd"), job_id, "tnt_test", Actor(ActorKind.KEY, "k"))
    envelope = new_envelope(
        CANCEL, source="test", subject=job_id, correlation_id="c", traceparent=new_trace(sampled=False).format()
    )
    return OutRecord("jobs.commands", job_id, msgspec.json.encode(command), headers_of(envelope))


async def send(publisher: Publisher, records: list[OutRecord]) -> None:
    """Until Kafka has acknowledged all of them; a record that goes twice makes nothing twice."""
    while records:
        answers = await publisher.send_many(records)
        records = [record for record, answer in zip(records, answers, strict=True) if not isinstance(answer, Sent)]
        await asyncio.sleep(EVERY_S)


def test_a_cancel_is_kept_while_executors_are_away(fleet: tuple[Fleet, str, KafkaSettings]) -> None:
    """Jobs that ran when the executor was killed, and jobs that it never saw, in every isolation."""
    executors, dsn, kafka = fleet

    async def story() -> list[tuple[str, str | None]]:
        executors.start("executor-1")
        await executors.ready("executor-1")
        publisher = Publisher(kafka)
        await publisher.start()
        connection = await asyncpg.connect(dsn)
        try:

            async def count(state: str) -> int:
                return int(await connection.fetchval("SELECT count(*) FROM job WHERE state = $1", state))

            async def running() -> bool:
                return await count("running") == 3

            async def cancelled() -> bool:
                return await count("cancelled") == 6

            first = [submit(tool, suffix, {"seconds": 300}) for tool, suffix, _ in LONG]
            await send(publisher, first)
            await eventually(running, what="three jobs run", timeout_s=60, every_s=0.2)
            executors.kill("executor-1")
            unseen = [submit(tool, suffix, {"seconds": 300}) for tool, suffix, _ in LONG]
            await send(publisher, unseen)
            await send(publisher, [cancel(str(record.key)) for record in first + unseen] * 2)
            executors.start("executor-1")
            await eventually(cancelled, what="six cancelled jobs", timeout_s=90, every_s=0.2)
            return [(row[0], row[1]) for row in await connection.fetch("SELECT state, reason FROM job")]
        finally:
            await connection.close()
            await publisher.stop()

    assert asyncio.run(story()) == [("cancelled", "user")] * 6


def test_a_rolling_restart_under_load_fails_nothing_and_burns_no_attempt(
    fleet: tuple[Fleet, str, KafkaSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    executors, dsn, kafka = fleet
    stop = asyncio.Event()
    names = ["executor-1", "executor-2", "executor-3"]

    async def story() -> dict[str, Any]:
        for name in names:
            executors.start(name)
            if name == names[0]:
                await executors.ready(name)
        for name in names[1:]:
            await executors.ready(name)
        publisher = Publisher(kafka)
        await publisher.start()
        sent = 0

        async def load() -> None:
            nonlocal sent
            turn = 0
            while not stop.is_set():
                records = [submit(*one) for one in MIX]
                if turn % 4 == 0:
                    records += [submit(*one) for one in LONG]
                sent, turn = sent + len(records), turn + 1
                await send(publisher, records)

        loading = asyncio.create_task(load())
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(2.0)
        codes = [await executors.replace(name) for name in names]
        stop.set()
        await loading
        await publisher.stop()
        connection = await asyncpg.connect(dsn)
        try:

            async def all_ended() -> bool:
                return int(await connection.fetchval("SELECT count(*) FROM job_done")) >= sent

            await eventually(all_ended, what=f"the end of {sent} jobs", timeout_s=150, every_s=0.5)
            figures = await connection.fetchrow(FIGURES)
            return {
                **dict(figures),
                "codes": codes,
                "sent": sent,
                "seconds": round(asyncio.get_running_loop().time() - began, 1),
            }
        finally:
            await connection.close()

    found = asyncio.run(story())
    with capsys.disabled():
        print(f"\nrolling restart: {found}")
    assert found["codes"] == [0, 0, 0]
    assert found["jobs"] == found["sent"]
    assert (found["failed"], found["burnt"], found["lost"]) == (0, 0, 0)
    assert found["interrupted"] > 0, "no job was handed back: the restart interrupted nothing"
    assert found["longest_pause_s"] < 20


FIGURES = """
SELECT count(*)::int AS jobs, count(*) FILTER (WHERE state <> 'succeeded')::int AS failed,
    sum(failures)::int AS burnt, sum(lost)::int AS lost, sum(interrupted)::int AS interrupted,
    (SELECT round(max(pause)::numeric, 2)::float FROM (
        SELECT extract(epoch FROM finished_at - lag(finished_at) OVER (ORDER BY finished_at)) AS pause FROM job
    ) p) AS longest_pause_s
FROM job
"""
