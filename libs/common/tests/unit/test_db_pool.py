"""A connection that does not answer leaves its place in the pool to another one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jobyard_common.db import pool


class Connection:
    def __init__(self) -> None:
        self.terminated = False

    def terminate(self) -> None:
        self.terminated = True


async def silent(_connection: Any) -> None:
    await asyncio.Event().wait()


async def refused(_connection: Any) -> None:
    raise ValueError


async def fine(_connection: Any) -> None:
    """Nothing to say against it."""


@pytest.mark.parametrize(("admit", "error"), [(silent, TimeoutError), (refused, ValueError)])
def test_one_that_is_not_admitted_is_ended_without_a_goodbye(
    admit: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ADMIT_S", 0.01)
    connection = Connection()
    with pytest.raises(error):
        asyncio.run(pool._admit(connection, admit=admit))
    assert connection.terminated


def test_one_that_is_admitted_stays() -> None:
    connection = Connection()
    asyncio.run(pool._admit(connection, admit=fine))
    assert not connection.terminated
