"""The fixtures; how to use them is told in the package's docstring."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from jobyard_common.contracts import topics
from jobyard_common.messaging.topics import ensure_topics

from jobyard_local.servers.set import Addresses
from jobyard_local.testing.databases import Databases
from jobyard_local.testing.shared import Holder

T = TypeVar("T")


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on a loop of its own, whether or not this thread has one that runs."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Addresses]:
    """Where the run's servers are."""
    given = os.environ.get("JOBYARD_TEST_SERVERS")
    if given:
        told = json.loads(Path(given).read_text())
        yield Addresses(told["postgres"], told["kafka"], told["valkey"])
        return
    workers = getattr(request.config, "workerinput", {})
    run = workers.get("testrunuid", secrets.token_hex(8))
    holder = Holder(Path(tempfile.gettempdir()) / f"jobyard-test-{os.geteuid()}-{run[:12]}")
    yield holder.acquire()
    holder.release()


class DatabaseFactory:
    """`database(service)` and `database.empty(service)`, both returning a DSN."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    def __call__(self, service: str, *, package: str | None = None) -> str:
        return finish(self._databases.clone(service, package=package or f"jobyard_{service}"))

    def empty(self, service: str) -> str:
        return finish(self._databases.empty(service))


@pytest.fixture
def database(servers: Addresses) -> Iterator[DatabaseFactory]:
    """Makes databases for one test."""
    databases = Databases(servers.postgres)
    yield DatabaseFactory(databases)
    finish(databases.drop_all())


@pytest.fixture
def topic_prefix(servers: Addresses) -> Iterator[str]:
    """A prefix under which every topic exists, with 2 partitions each."""
    prefix = f"t{secrets.token_hex(5)}."
    names = [name for topic in topics.ALL for name in (topic.name, topics.dlt(topic))]
    few = {name: 1 if name.endswith(".dlt") else 2 for name in names}
    finish(ensure_topics(servers.kafka, prefix=prefix, partitions=few))
    yield prefix
    finish(_delete(servers.kafka, [topics.topic_name(name, prefix=prefix) for name in names]))


async def _delete(bootstrap: str, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(names)
    finally:
        await admin.close()


@pytest.fixture
def valkey_prefix() -> str:
    """Put before every key of this test."""
    return f"t{secrets.token_hex(6)}:"
