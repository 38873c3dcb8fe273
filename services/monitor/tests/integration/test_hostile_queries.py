"""The read API under wrong input: the exact answer to each, and never a 5xx."""

from __future__ import annotations

import asyncio
from typing import Any

from jobyard_monitor.domain import cursor

JOB = "job_00" + "0" * 25 + "A"
LOGS = f"/v1/jobs/{JOB}/logs"
TABLE: list[tuple[str, dict[str, Any], int, list[str]]] = [
    *((LOGS, {"limit": odd}, 422, ["limit"]) for odd in ("0", "-1", "1001", "many", "", "1e3", "٣", "9" * 5000)),
    *((LOGS, {"after_seq": odd}, 422, ["after_seq"]) for odd in ("-1", "x", str(2**63), "1.5")),
    *((LOGS, {"cursor": odd}, 422, ["cursor"]) for odd in ("x", "AAAA", "'; --", "x" * 3000, "\x00", "é", "")),
    (LOGS, {"cursor": cursor.pack("audit", 1)}, 422, ["cursor"]),
    (LOGS, {"cursor": cursor.pack("job-log", -1)}, 422, ["cursor"]),
    (LOGS, {"cursor": cursor.pack("job-log", 2**80)}, 422, ["cursor"]),
    (LOGS, {"stream": "progress"}, 422, ["stream"]),
    (LOGS, {"stream": ["stdout", "x"]}, 422, ["stream"]),
    (LOGS, {"level": ["info"] * 21}, 422, ["level"]),
    (LOGS, {"limit": ["1", "2"]}, 422, ["limit"]),
    (LOGS, {"bogus": "1", "limit": "0"}, 422, ["bogus", "limit"]),
    (LOGS, {"x" * 500: "1"}, 422, ["x" * 64]),
    *((f"/v1/jobs/{odd}/logs", {}, 404, []) for odd in ("1", "job_", "job_" + "0" * 27, JOB.lower(), "file" + JOB[3:])),
    *((f"/v1/jobs/{odd}/timeline", {}, 404, []) for odd in ("%00", "job_%2e%2e", "x" * 500, JOB + "x")),
    (f"/v1/jobs/{JOB}/timeline", {"limit": "1"}, 422, ["limit"]),
    *(("/v1/logs", {"limit": odd}, 422, ["limit"]) for odd in ("0", "201")),
    *(("/v1/logs", {"q": odd}, 422, ["q"]) for odd in ("", "\x00", "x" * 257, "a\nb")),
    *(("/v1/logs", {"level": odd}, 422, ["level"]) for odd in ("loud", "INFO", "info,error")),
    *(
        ("/v1/logs", {"since": odd}, 422, ["since"])
        for odd in (
            "yesterday",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
        )
    ),
    ("/v1/logs", {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422, ["since"]),
    ("/v1/logs", {"since": "2020-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422, ["since"]),
    ("/v1/logs", {"cursor": cursor.pack("logs", "2026-01-01T00:00:00", 1, 1, 1)}, 422, ["cursor"]),
    ("/v1/logs", {"cursor": cursor.pack("logs", "2026-01-01T00:00:00Z", 2**40, 1, 1)}, 422, ["cursor"]),
    ("/v1/logs", {"service": "a\x00b"}, 422, ["service"]),
    ("/v1/logs/errors", {"limit": "x"}, 422, ["limit"]),
    ("/v1/stats", {"window_s": "0"}, 422, ["window_s"]),
    ("/v1/stats", {"window_s": "99999999999"}, 422, ["window_s"]),
    ("/v1/system", {"verbose": "1"}, 422, ["verbose"]),
    ("/v1/audit", {"target": "x" * 1025, "actor": ""}, 422, ["target", "actor"]),
    ("/v1/audit", {"cursor": cursor.pack("audit", "2026-01-01T00:00:00Z", "a\x00")}, 422, ["cursor"]),
    ("/v1/audit", {"cursor": cursor.pack("audit", "0001-01-01T00:00:00+14:00", "a")}, 422, ["cursor"]),
    ("/v1/nowhere", {}, 404, []),
    (LOGS, {"after_seq": str(2**63 - 1)}, 200, []),
    ("/v1/logs", {"q": "%' OR 1=1; --", "service": "'; DROP TABLE audit; --"}, 200, []),
    ("/v1/logs", {"since": "2026-01-01T00:00:00+02:00", "until": "2026-01-02T00:00:00.123456789Z"}, 200, []),
    ("/v1/audit", {"action": "\N{PILE OF POO}", "since": "1970-01-01T00:00:00Z"}, 200, []),
]


def test_every_wrong_query_gets_its_exact_answer(bench: Any) -> None:
    async def go() -> list[str]:
        wrong = []
        async with bench:
            for path, params, status, pointers in TABLE:
                answer = await bench.answer(path, **params)
                body = answer.json()
                got = sorted(row["pointer"] for row in body.get("errors", []))
                if (answer.status_code, got) != (status, sorted(pointers)):
                    wrong.append(f"{path} {str(params)[:80]}: {answer.status_code} {got}, want {status} {pointers}")
                if status >= 400 and answer.headers["content-type"] != "application/problem+json":
                    wrong.append(f"{path}: {answer.headers['content-type']}")
        return wrong

    assert asyncio.run(go()) == []


def test_who_may_ask(bench: Any) -> None:
    good = {"Authorization": "Bearer test-token", "X-Jobyard-Tenant": "tnt_default", "X-Jobyard-Actor": "key:k"}
    table: list[tuple[str, dict[str, str], int]] = [
        ("GET", {}, 401),
        ("GET", {**good, "Authorization": "Bearer test-tokem"}, 401),
        ("GET", {**good, "Authorization": "test-token"}, 401),
        ("GET", {**good, "X-Jobyard-Tenant": ""}, 400),
        ("GET", {**good, "X-Jobyard-Actor": "king:k"}, 400),
        ("GET", {**good, "X-Jobyard-Actor": "key"}, 400),
        ("POST", good, 405),
        ("DELETE", good, 405),
        ("GET", good, 200),
    ]

    async def go() -> None:
        async with bench:
            for method, headers, status in table:
                answer = await bench.http.request(method, LOGS, headers=headers)
                assert answer.status_code == status, (method, headers, answer.text)

    asyncio.run(go())


def test_a_database_that_is_away_is_told_as_such(bench: Any) -> None:
    async def go() -> None:
        async with bench:
            await bench.pool.close()
            answer = await bench.answer(LOGS)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]

    asyncio.run(go())


def test_a_search_past_its_deadline_is_the_askers_to_narrow(bench: Any, records: Any) -> None:
    async def go() -> None:
        async with bench:
            async with bench.pool.acquire() as connection, connection.transaction():
                await connection.execute("LOCK TABLE service_log")
                bench.pool._connect_kwargs["command_timeout"] = 0.2
                await bench.pool.expire_connections()
                answer = await bench.answer("/v1/logs", q="x")
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "since")

    asyncio.run(go())
