"""The servers themselves: what was acknowledged is there after a stop and after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from jobyard_local.process import LAUNCH_MARK, marked
from jobyard_local.servers.set import Addresses, ServerSet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A path that is too long for a socket, in a folder that no other user may enter."""
    home = tmp_path / ("h" * 90)
    home.mkdir(mode=0o700)
    return home


@pytest.mark.serial
def test_data_survive_a_stop_and_a_kill(home: Path) -> None:
    async def story() -> None:
        servers = ServerSet(home, say=print)
        addresses = await servers.start()
        await put(addresses, n=1, create=True)
        await servers.stop()
        assert not marked_processes(home)

        servers = ServerSet(home, say=print)
        addresses = await servers.start()
        await put(addresses, n=2)
        for pid in marked_processes(home):
            os.kill(pid, signal.SIGKILL)
        await servers.stop()

        servers = ServerSet(home, say=print)
        addresses = await servers.start()
        assert await kept(addresses) == ([1, 2], [1, 2])
        await servers.stop()
        assert not marked_processes(home)

    asyncio.run(story())


def marked_processes(home: Path) -> list[int]:
    """Every process of this home, by the mark in its environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = dict(part.partition("=")[::2] for part in (entry / "environ").read_text().split("\0"))
        except OSError:
            continue
        if variables.get("JOBYARD_HOME") == str(home) and int(entry.name) in marked(variables[LAUNCH_MARK]):
            found.append(int(entry.name))
    return found


async def put(addresses: Addresses, *, n: int, create: bool = False) -> None:
    connection = await asyncpg.connect(addresses.postgres)
    if create:
        await connection.execute("CREATE TABLE number (n int)")
        admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
        await admin.start()
        await admin.create_topics([NewTopic("number", 1, 1)])
        await admin.close()
    await connection.execute("INSERT INTO number VALUES ($1)", n)
    await connection.close()
    producer = AIOKafkaProducer(bootstrap_servers=addresses.kafka, acks="all", enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait("number", json.dumps(n).encode())
    await producer.stop()


async def kept(addresses: Addresses) -> tuple[list[int], list[int]]:
    connection = await asyncpg.connect(addresses.postgres)
    rows = [row["n"] for row in await connection.fetch("SELECT n FROM number ORDER BY n")]
    await connection.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=addresses.kafka)
    await consumer.start()
    partition = TopicPartition("number", 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    end = (await consumer.end_offsets([partition]))[partition]
    records = [json.loads((await consumer.getone()).value) for _ in range(end)]
    await consumer.stop()
    return rows, records
