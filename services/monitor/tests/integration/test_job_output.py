"""What jobs print, from packs to pages."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

FIRST = 10**9


def test_lines_are_read_in_order_in_pages(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        lines = [records.line(FIRST + n, f"line {n}") for n in range(1, 251)]
        async with bench:
            # packs out of order, one of them twice, as a producer that was not sure sends them
            await bench.apply(records.pack(job, *lines[100:]), records.pack(job, *lines[:100]))
            await bench.apply(records.pack(job, *lines[:100]))
            seen: list[Any] = []
            page = await bench.get(f"/v1/jobs/{job}/logs", limit=100)
            while True:
                seen += page["data"]
                if not page["has_more"]:
                    break
                page = await bench.get(f"/v1/jobs/{job}/logs", limit=100, cursor=page["next_cursor"])
            assert [row["seq"] for row in seen] == [FIRST + n for n in range(1, 251)]
            assert page["next_cursor"] is None
            later = await bench.get(f"/v1/jobs/{job}/logs", after_seq=FIRST + 249)
            assert [row["message"] for row in later["data"]] == ["line 250"]
            path = f"/v1/jobs/{job}/logs"
            await bench.apply(records.pack(job, records.line(FIRST + 251, stream="progress", fields={"done": 1})))
            told = await bench.answer(path, **{"with": "seen"})
            assert told.headers["x-jobyard-seen-seq"] == str(FIRST + 251), "progress counts, although it is no line"
            assert (await bench.answer(path, tenant="tnt_b", **{"with": "seen"})).headers["x-jobyard-seen-seq"] == "0"
            assert "x-jobyard-seen-seq" not in (await bench.answer(path)).headers

    asyncio.run(go())


def test_a_line_keeps_level_fields_and_harmless_text(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        rubbish = "a\x00b\x1b[31m\N{REPLACEMENT CHARACTER}"
        async with bench:
            await bench.apply(
                records.pack(
                    job,
                    records.line(FIRST + 1, "entry 1", stream="log", level="debug", fields={"n": 10**30}),
                    records.line(FIRST + 2, rubbish, stream="stderr", late=True),
                )
            )
            first, second = (await bench.get(f"/v1/jobs/{job}/logs"))["data"]
            assert (first["level"], first["fields"], first["attempt"]) == ("debug", {"n": 10**30}, 1)
            assert set(first) == {"seq", "at", "attempt", "stream", "level", "message", "fields"}
            assert second["message"] == rubbish.replace("\x00", "\N{REPLACEMENT CHARACTER}")
            assert (second["fields"], second["late"]) == ({}, True)
            filtered = await bench.get(f"/v1/jobs/{job}/logs", stream=["log", "stdout"], level="debug")
            assert [row["seq"] for row in filtered["data"]] == [FIRST + 1]

    asyncio.run(go())


def test_progress_is_no_line_and_only_the_last_is_kept(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        steps = [
            records.line(FIRST + n, stream="progress", fields={"done": n, "total": 5, "note": f"step {n}"})
            for n in range(1, 6)
        ]
        async with bench:
            await bench.apply(records.pack(job, *steps[3:]))
            await bench.apply(records.pack(job, *steps[:3], records.line(FIRST + 6, "end")))
            assert [row["seq"] for row in (await bench.get(f"/v1/jobs/{job}/logs"))["data"]] == [FIRST + 6]
            assert await bench.rows("SELECT seq, progress FROM job_progress") == [
                (FIRST + 5, '{"done":5,"total":5,"note":"step 5"}')
            ]

    asyncio.run(go())


def test_another_tenant_sees_nothing(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        async with bench:
            await bench.apply(records.pack(job, records.line(FIRST + 1, "secret")), *records.life(job))
            for path in ("logs", "timeline"):
                assert (await bench.get(f"/v1/jobs/{job}/{path}", tenant="tnt_other"))["data"] == []

    asyncio.run(go())


def test_a_line_of_another_day_waits_in_the_default_partition(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        old = records.line(FIRST + 1, "old")
        async with bench:
            pack = records.pack(job, old)
            pack.value = pack.value.replace(f"{old.at:%Y-%m-%d}".encode(), b"2026-01-05")
            assert await bench.apply(pack) == []
            assert await bench.rows("SELECT count(*) FROM job_log_default") == [(1,)]
            assert [row["message"] for row in (await bench.get(f"/v1/jobs/{job}/logs"))["data"]] == ["old"]

    asyncio.run(go())


@pytest.mark.serial
def test_fifty_thousand_lines_take_seconds(bench: Any, records: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async def go() -> float:
        job = records.job_id()
        packs = [
            records.pack(job, *(records.line(FIRST + start + n, f"line {start + n} {'x' * 60}") for n in range(1, 501)))
            for start in range(0, 50_000, 500)
        ]
        async with bench:
            began = time.perf_counter()
            for start in range(0, len(packs), 10):
                await bench.apply(*packs[start : start + 10])
            took = time.perf_counter() - began
            assert await bench.rows("SELECT count(*) FROM job_log") == [(50_000,)]
            began = time.perf_counter()
            last = await bench.get(f"/v1/jobs/{job}/logs", after_seq=FIRST + 49_900)
            assert len(last["data"]) == 100
            assert time.perf_counter() - began < 0.5
        return took

    took = asyncio.run(go())
    with capsys.disabled():
        print(f"\n  job output: {50_000 / took:,.0f} lines/s")
    assert took < 15
