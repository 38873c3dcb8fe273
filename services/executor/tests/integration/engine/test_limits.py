"""Limits at run time: concurrency and rate of queues, tools, tenants and keys, with who holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from jobyard_executor.handlers.finish import Ended, finish
from jobyard_executor.store import limits
from jobyard_executor.testing.runner import ended

from .queue_calls import audited, client, session_of, started

Play = Callable[[Any], None]


@pytest.mark.parametrize("key", ["queue:default", "tool:test.noop", "tenant:tnt_test", "key:acct"])
def test_a_limit_bounds_what_runs_and_says_who_holds_it(play: Play, key: str) -> None:
    async def scenario(bench: Any) -> None:
        jobs = [bench.submit(concurrency_key="acct") for _ in range(5)]
        await bench.apply(*jobs)
        session = await session_of(bench)
        async with client(bench) as http:
            if key != "key:acct":
                await http.put("/limits/key:acct", json={"concurrency": 100})
            put = await http.put(f"/limits/{key}", json={"concurrency": 2})
            assert (put.status_code, put.json()["concurrency"]) == (201, 2)
            running = await started(bench, session)
            assert len(running) == 2
            assert await started(bench, session) == []
            shown = (await http.get(f"/limits/{key}")).json()
            assert (shown["running"], shown["declared_by"]) == (2, "operator")
            assert sorted(row["job_id"] for row in shown["holders"]) == sorted(running)
            waiting = next(job.job_id for job in jobs if job.job_id not in running)
            told = (await http.get(f"/jobs/{waiting}/explain")).json()["waiting_for"]
            (limit,) = [row for row in told if row["kind"] == "limit"]
            assert key in limit["detail"] and running[0] in limit["detail"]
            again = await http.put(f"/limits/{key}", json={"concurrency": 3})
            assert again.status_code == 200
            assert len(await started(bench, session)) == 1
            listed = (await http.get("/limits")).json()["data"]
            assert key in {row["key"] for row in listed}
            assert (await http.delete(f"/limits/{key}")).status_code == 204
            assert (await http.delete(f"/limits/{key}")).status_code == 404
        assert "limit.remove" in await audited(bench)

    play(scenario)


def test_a_change_holds_for_a_claimer_that_runs_already(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.apply(*[bench.submit() for _ in range(6)])
        session, claimer = await session_of(bench), bench.claimer()
        assert len(await started(bench, session, slots=1, claimer=claimer)) == 1
        async with client(bench) as http:
            await http.put("/limits/tool:test.noop", json={"concurrency": 3})
            bench.clock.ahead += timedelta(seconds=1)
            assert len(await started(bench, session, claimer=claimer)) == 2
            await http.put("/limits/tool:test.noop", json={"concurrency": 0})
            assert await started(bench, session, claimer=claimer) == []
            await http.delete("/limits/tool:test.noop")
            bench.clock.ahead += timedelta(seconds=1)
            assert len(await started(bench, session, claimer=claimer)) == 3

    play(scenario)


def test_a_rate_lets_a_burst_start_and_then_what_it_earned(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        jobs = [bench.submit() for _ in range(9)]
        await bench.apply(*jobs)
        session, claimer = await session_of(bench), bench.claimer()
        async with client(bench) as http:
            rate = {"count": 2, "per_s": 3600, "burst": 3}
            await http.put("/limits/queue:default", json={"rate": rate})
            assert len(await started(bench, session, claimer=claimer)) == 3
            assert await started(bench, session, claimer=claimer) == []
            assert 1700 < claimer.wait_s <= 1800
            shown = (await http.get("/limits/queue:default")).json()
            assert (shown["rate"], shown["starts_left"]) == ({"count": 2, "per_s": 3600.0, "burst": 3}, 0)
            assert 1700 < shown["next_start_in_s"] <= 1800
            states = {job.job_id: (await bench.job(job.job_id)).state for job in jobs}
            left = next(job_id for job_id, state in states.items() if state == "queued")
            told = (await http.get(f"/jobs/{left}/explain")).json()["waiting_for"]
            assert [row["until"] is not None for row in told if row["kind"] == "rate"] == [True]
            await bench.pool.execute("UPDATE \"limit\" SET next_at = next_at - interval '31 min'")
            assert len(await started(bench, session, claimer=claimer)) == 1
            await bench.pool.execute("UPDATE \"limit\" SET next_at = next_at - interval '1 year'")
            assert len(await started(bench, session, claimer=claimer)) == 3
            await http.put("/limits/queue:default", json={"rate": rate, "concurrency": 8})
            await bench.pool.execute('UPDATE "limit" SET next_at = NULL')
            assert len(await started(bench, session, claimer=claimer)) == 1

    play(scenario)


def test_neither_rate_nor_concurrency_is_exceeded_by_many_claimers(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        jobs = [bench.submit(concurrency_key=f"k{n % 3}") for n in range(40)]
        await bench.apply(*jobs)
        async with client(bench) as http:
            await http.put(
                "/limits/tool:test.noop", json={"concurrency": 4, "rate": {"count": 1, "per_s": 86400, "burst": 30}}
            )
            await http.put("/limits/key:k0", json={"concurrency": 2})
        highest: dict[str, int] = {}
        begun = 0

        async def probe() -> None:
            while begun < 30:
                rows = await bench.pool.fetch("SELECT concurrency, count(*) AS n FROM lease GROUP BY 1")
                for row in rows:
                    highest[row["concurrency"]] = max(highest.get(row["concurrency"], 0), row["n"])
                highest["all"] = max(highest.get("all", 0), sum(row["n"] for row in rows))
                await asyncio.sleep(0.001)

        async def worker(number: int) -> None:
            nonlocal begun
            session, claimer = await session_of(bench, f"ses_{number}"), bench.claimer()
            while begun < 30:
                held = await claimer.claim(session, free={"async": 10})
                begun += len(held)
                await asyncio.sleep(0.003)
                await finish(bench.engine, bench.pool, [Ended(one, ended(one.assignment)) for one in held])

        async with asyncio.timeout(60):
            await asyncio.gather(probe(), *(worker(number) for number in range(6)))
        assert await started(bench, await session_of(bench, "ses_last")) == []
        assert (begun, await bench.count("job_done")) == (30, 30)
        assert highest["all"] <= 4 and highest["k0"] <= 2 and highest["k1"] <= 1

    play(scenario)


def test_a_tools_own_limit_is_back_when_an_operators_is_gone(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.pool.execute(
            "UPDATE tool_version SET definition = '{\"limits\": {\"concurrency\": 7}}' WHERE name = 'test.noop'"
        )
        async with client(bench) as http:
            await http.put("/limits/tool:test.noop", json={"concurrency": 2})
            assert (await http.delete("/limits/tool:test.noop")).status_code == 204
            shown = (await http.get("/limits/tool:test.noop")).json()
            assert (shown["concurrency"], shown["declared_by"]) == (7, "tool")
            assert (await http.delete("/limits/tool:test.noop")).status_code == 404

    play(scenario)


def test_limits_of_a_tenants_keys_are_its_own(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as mine, client(bench, tenant="tnt_other") as theirs:
            await mine.put("/limits/key:a~1b~0c", json={"concurrency": 4})
            await mine.put("/limits/fairness:vip", json={"weight": 5})
            await mine.put("/limits/tenant:tnt_test", json={"weight": 2, "concurrency": 9})
            assert (await mine.get("/limits/key:a~1b~0c")).json()["key"] == "key:a/b~c"
            assert (await theirs.get("/limits/key:a~1b~0c")).status_code == 404
            assert (await theirs.get("/limits/tenant:tnt_test")).status_code == 404
            assert (await theirs.get("/limits")).json()["data"] == []
            assert len((await theirs.get("/limits?scope=all")).json()["data"]) == 1
            page = (await mine.get("/limits?limit=2")).json()
            assert (len(page["data"]), page["has_more"]) == (2, True)
            rest = (await mine.get("/limits", params={"limit": 2, "cursor": page["next_cursor"]})).json()
            assert (len(rest["data"]), rest["has_more"]) == (1, False)
            stale = await mine.put("/limits/fairness:vip", json={"weight": 6}, headers={"If-Match": '"7"'})
            assert stale.status_code == 412
            assert (
                await mine.put("/limits/fairness:vip", json={"weight": 6}, headers={"If-Match": '"1"'})
            ).status_code == 200

    play(scenario)


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("key:a", {}),
        ("key:a", {"concurrency": -1}),
        ("key:a", {"concurrency": 1.5}),
        ("key:a", {"concurrency": 10**12}),
        ("key:a", {"concurrency": True}),
        ("key:a", {"weight": 2}),
        ("queue:a", {"weight": 2}),
        ("fairness:a", {"concurrency": 1}),
        ("fairness:a", {"rate": {"count": 1}}),
        ("tenant:a", {"weight": 0}),
        ("tool:a", {"rate": {"count": 1, "per_s": -3}}),
        ("tool:a", {"rate": {"count": 1, "burst": 0}}),
        ("tool:a", {"rate": {"count": 1, "each": 0}}),
        ("user:a", {"concurrency": 1}),
        ("key:", {"concurrency": 1}),
        ("nothing", {"concurrency": 1}),
        ("key:" + "x" * 300, {"concurrency": 1}),
    ],
)
def test_limits_that_make_no_sense(play: Play, key: str, body: dict[str, object]) -> None:
    async def scenario(bench: Any) -> None:
        async with client(bench) as http:
            answer = await http.put(f"/limits/{key}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), answer.text
        assert await bench.count("limit") == 0

    play(scenario)


def test_limits_that_claims_made_go_when_nobody_runs_under_them(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.apply(bench.submit(concurrency_key="used"), bench.submit(concurrency_key="left"))
        session, claimer = await session_of(bench), bench.claimer()
        held = await claimer.claim(session, free={"async": 10})
        left = [one for one in held if one.spec.concurrency_key == "left"]
        await finish(bench.engine, bench.pool, [Ended(one, ended(one.assignment)) for one in left])
        await bench.pool.execute("UPDATE \"limit\" SET changed_at = now() - interval '1 day'")
        await limits.remove_unused(bench.pool, limit=100)
        assert [row["key"] for row in await bench.pool.fetch('SELECT key FROM "limit"')] == ["key:tnt_test/used"]
        again = bench.submit(concurrency_key="left")
        await bench.apply(again)
        assert await started(bench, session, claimer=claimer) == []
        assert await started(bench, session, claimer=claimer) == [again.job_id]

    play(scenario)
