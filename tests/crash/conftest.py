"""One set of services for all crash points; each test kills one of them and leaves it alive again."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from jobyard_local.schemas import dsn_of
from jobyard_local.servers.set import Addresses

from tests.crash.scene import Scene
from tests.support.cast import Ground

Go = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="package")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as found:
        yield found


@pytest.fixture(scope="package")
def scene(servers: Addresses, runner: asyncio.Runner) -> Iterator[Scene]:
    word = secrets.token_hex(5)
    ground = Ground(
        dsn_of(servers.postgres, database=f"crash_{word}"), servers.kafka, servers.valkey, prefix=f"crash{word}."
    )
    home = Path(tempfile.mkdtemp(prefix="jobyard-crash-"))
    found = Scene(home, ground=ground)
    try:
        runner.run(found.open())
        yield found
    finally:
        runner.run(found.close())
        runner.run(drop(servers.postgres, f"crash_{word}"))
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def go(runner: asyncio.Runner) -> Go:
    """Run a coroutine on the loop on which the scene's processes are watched."""
    return runner.run


async def drop(dsn: str, *names: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for name in names:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()
