"""Logs of services, their errors, and the audit trail."""

from __future__ import annotations

import asyncio
from typing import Any


def test_logs_are_read_newest_first_in_pages_and_by_filters(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            rows = [
                records.log(
                    -n // 10, f"event.{n}", service=("gateway", "executor")[n % 2], level=("info", "error")[n % 2]
                )
                for n in range(50)
            ]
            await bench.apply(records.logs(*rows[:20]), records.logs(*rows[20:]))
            seen: list[str] = []
            page = await bench.get("/v1/logs", limit=7)
            while True:
                seen += [row["event"] for row in page["data"]]
                if not page["has_more"]:
                    break
                page = await bench.get("/v1/logs", limit=7, cursor=page["next_cursor"])
            assert sorted(seen) == sorted(row.event for row in rows)
            assert len(seen) == 50
            assert {row["service"] for row in (await bench.get("/v1/logs", service="executor"))["data"]} == {"executor"}
            assert {row["level"] for row in (await bench.get("/v1/logs", level="warning"))["data"]} == {"error"}

    asyncio.run(go())


def test_words_are_taken_as_they_stand(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            await bench.apply(
                records.logs(
                    records.log(0, "a", message="100% of it"),
                    records.log(0, "b", message="100 of it"),
                    records.log(0, "c", message=r"back\slash"),
                    records.log(0, "d", exception="ValueError: odd"),
                )
            )

            async def found(words: str) -> list[str]:
                return sorted(row["event"] for row in (await bench.get("/v1/logs", q=words))["data"])

            assert await found("100%") == ["a"]
            assert await found("_") == []
            assert await found("back\\") == ["c"]
            assert await found("valueerror") == ["d"]
            assert await found("' OR 1=1 --") == []

    asyncio.run(go())


def test_ids_find_their_records(bench: Any, records: Any) -> None:
    async def go() -> None:
        job = records.job_id()
        async with bench:
            await bench.apply(
                records.logs(
                    records.log(-86_400 * 2, "old", correlation_id="c1"),
                    records.log(0, "new", correlation_id="c1", job_id=job, tenant="tnt_default"),
                    records.log(0, "theirs", correlation_id="c1", tenant="tnt_other"),
                )
            )
            by_correlation = await bench.get("/v1/logs", correlation_id="c1")
            assert [row["event"] for row in by_correlation["data"]] == ["new", "old"]
            assert [row["event"] for row in (await bench.get("/v1/logs", job_id=job))["data"]] == ["new"]
            theirs = await bench.get("/v1/logs", tenant="tnt_other")
            assert [row["event"] for row in theirs["data"]] == ["theirs"]

    asyncio.run(go())


def test_errors_are_grouped_by_their_cause(bench: Any, records: Any) -> None:
    def raised(line: int, text: str) -> str:
        return f'Traceback (most recent call last):\n  File "/x/a.py", line {line}, in work\nValueError: {text}\n'

    async def go() -> None:
        async with bench:
            await bench.apply(
                records.logs(
                    *(records.log(-n, "job.failed", level="error", exception=raised(n, f"row {n}")) for n in range(5)),
                    records.log(-1, "kafka.lost", level="error"),
                    records.log(-1, "harmless"),
                )
            )
            groups = (await bench.get("/v1/logs/errors"))["data"]
            assert [(row["count"], row["last"]["event"]) for row in groups] == [(5, "job.failed"), (1, "kafka.lost")]
            assert "row 0" in groups[0]["last"]["exception"]
            assert groups[0]["fingerprint"].startswith("v1:")
            assert (await bench.get("/v1/logs/errors", tenant="tnt_other"))["data"] == []

    asyncio.run(go())


def test_audit_entries_once_each_newest_first(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            made = [records.audit(f"aud_{n:02}", -(n // 3), detail={"n": n}, target=f"job_{n % 2}") for n in range(20)]
            await bench.apply(*made)
            await bench.apply(*made[:5])
            await bench.apply(records.audit("aud_theirs", 0, tenant="tnt_other"))
            await bench.apply(records.audit("aud_platform", 1, tenant="", action="record.refused"))
            seen: list[str] = []
            page = await bench.get("/v1/audit", limit=6)
            while True:
                seen += [row["id"] for row in page["data"]]
                if not page["has_more"]:
                    break
                page = await bench.get("/v1/audit", limit=6, cursor=page["next_cursor"])
            assert seen[0] == "aud_platform"
            assert sorted(seen[1:]) == [f"aud_{n:02}" for n in range(20)]
            refusals = await bench.get("/v1/audit", action="record.refused", outcome="ok", actor="key_1")
            assert [row["id"] for row in refusals["data"]] == ["aud_platform"]
            theirs = await bench.get("/v1/audit", tenant="tnt_other")
            assert [row["id"] for row in theirs["data"]] == ["aud_theirs"]

    asyncio.run(go())
