"""Reads behind a command, wherever its partition is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobyard_common.messaging.offsets import Progress
from jobyard_executor.inbound.barrier import HEADER, Barrier
from starlette.requests import Request

Play = Callable[[Any], None]


def behind(text: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [(HEADER.encode(), text.encode())]})


def test_a_partition_that_another_executor_took_over_is_looked_up(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        progress = Progress()
        barrier = Barrier(bench.pool, progress, topic="t")
        progress.follow({4: 10})
        assert await barrier.passed(behind("4:9"))
        progress.follow({})
        await bench.pool.execute(
            "INSERT INTO consumer_offset (cluster_id, topic, partition, next) VALUES ('c','t',4,21)"
        )
        assert await barrier.passed(behind("4:20"))
        assert await barrier.passed(behind(""))

    play(scenario)
