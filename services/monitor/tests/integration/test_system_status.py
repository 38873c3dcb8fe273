"""`GET /v1/system`, from heartbeats to the answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from jobyard_monitor.domain.system import REQUIRED, Answer


def statuses(told: Any) -> dict[str, str]:
    return {row["name"]: row["status"] for row in told["services"]}


def test_four_services_that_beat_are_ok(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            await bench.apply(*(records.beat(name, at=bench.clock.now()) for name in REQUIRED))
            told = await bench.get("/v1/system")
            assert (told["status"], statuses(told)) == ("ok", dict.fromkeys(REQUIRED, "ok"))
            assert told["services"][0]["instances"][0]["instance"] == "gateway-1"
            assert bench.asked == []

    asyncio.run(go())


def test_a_killed_service_is_down_after_its_first_missed_beat(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            now = bench.clock.now()
            await bench.apply(*(records.beat(name, at=now) for name in REQUIRED if name != "files"))
            await bench.apply(records.beat("files", at=now - timedelta(seconds=3.1)))
            assert statuses(await bench.get("/v1/system"))["files"] == "ok"
            bench.answers["files"] = Answer.REFUSED
            told = await bench.get("/v1/system")
            assert (told["status"], statuses(told)["files"]) == ("down", "down")
            assert set(bench.asked) == {"files"}

    asyncio.run(go())


def test_an_old_beat_never_replaces_a_newer_one(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            now = bench.clock.now()
            await bench.apply(records.beat("files", at=now))
            await bench.apply(records.beat("files", at=now - timedelta(minutes=5), status="down"))
            assert statuses(await bench.get("/v1/system"))["files"] == "ok"

    asyncio.run(go())


def test_before_the_first_beat_everything_is_listed(bench: Any) -> None:
    async def go() -> None:
        async with bench:
            told = await bench.get("/v1/system")
            assert list(statuses(told)) == list(REQUIRED)
            assert told["status"] == "down"

    asyncio.run(go())
