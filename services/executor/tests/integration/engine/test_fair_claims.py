"""Nobody starves: floods over a thousand keys, many tenants, steady urgent work, restarts and several executors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.db.migrate import versions_folder
from jobyard_executor.domain.lane import lane_of
from jobyard_executor.store import claiming, jobs

from .queue_calls import client, session_of

Play = Callable[[Any], None]
FLOOD, KEYS = 100_000, 1_000
JOBS = """
INSERT INTO job SELECT (json_populate_record(j, json_build_object(
    'job_id', left(j.job_id, length(j.job_id) - 7) || lpad(n::text, 7, '0'),
    'spec', replace(j.spec, '"concurrency_key":"k"', '"concurrency_key":"k' || n % $3 || '"')))).*
FROM job j, generate_series(1, least($2::int, 3000)) n WHERE j.job_id = $1
"""
READY = """
INSERT INTO ready
SELECT left(r.job_id, length(r.job_id) - 7) || lpad(n::text, 7, '0'), r.lane || n % $3, r.sort_at, r.tenant, NULL
FROM ready r, generate_series(1, $2::int) n WHERE r.job_id = $1
"""
"""The first 3,000 have jobs behind them: more no test takes."""


def of_tenant(submit: SubmitJob, tenant: str) -> SubmitJob:
    return msgspec.structs.replace(submit, tenant=tenant)


async def flood(bench: Any, *, tenant: str = "tnt_flood", count: int = FLOOD, keys: int = KEYS) -> None:
    """Many jobs of one tenant, spread over concurrency keys."""
    first = of_tenant(bench.submit(concurrency_key="k"), tenant)
    await bench.apply(first)
    for statement in (JOBS, READY):
        await bench.pool.execute(statement, first.job_id, count - 1, keys, timeout=60)


async def turns(bench: Any, claimer: Any, session: str, *, slots: int, claims: int) -> list[Counter[str]]:
    """Jobs started by tenant, claim by claim."""
    found = []
    for _ in range(claims):
        held = await claimer.claim(session, free={"async": slots})
        found.append(Counter(one.job.tenant for one in held))
    return found


def test_a_flood_over_a_thousand_keys_delays_nobody(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await flood(bench)
        session = await session_of(bench)
        one, two = bench.claimer(), bench.claimer()
        await turns(bench, one, session, slots=20, claims=5)
        await bench.apply(of_tenant(bench.submit(), "tnt_second"))
        seen = await turns(bench, one, session, slots=2, claims=2)
        assert sum(claim["tnt_second"] for claim in seen) == 1
        await bench.apply(*[of_tenant(bench.submit(), "tnt_second") for _ in range(10)])
        after_restart = await turns(bench, two, session, slots=4, claims=2)
        assert sum(claim["tnt_second"] for claim in after_restart) >= 3

    play(scenario)


def test_the_walk_probes_the_index_however_many_wait(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await flood(bench)
        await bench.apply(*[of_tenant(bench.submit(), f"tnt_{n}") for n in range(20)])
        await bench.pool.execute("VACUUM ANALYZE ready")
        rows = await bench.pool.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS) {claiming.LANES}", None, [], [], [], [], [], claiming.MAX_FLOWS, 9
        )
        text = "\n".join(row[0] for row in rows)
        assert "Seq Scan on ready" not in text and "ready_turn" in text
        touched = re.search(r"Buffers: shared hit=(\d+)", text)
        assert touched is not None and int(touched[1]) < 1500, text
        found = await claiming.lanes(bench.pool, lanes=9)
        assert len({row.flow for row in found}) == 21
        assert len(found) == 20 + 9

    play(scenario)


def test_everybody_among_many_tenants_gets_a_turn_before_anybody_gets_many(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await flood(bench, count=2000, keys=500)
        small = [of_tenant(bench.submit(), f"tnt_{n}") for n in range(200)]
        await bench.apply(*small)
        seen = await turns(bench, bench.claimer(), await session_of(bench), slots=60, claims=8)
        total = sum(seen, Counter[str]())
        assert len(total) == 201

    play(scenario)


def test_every_lane_of_a_tenant_is_met(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await flood(bench, count=1000, keys=1000)
        session, claimer = await session_of(bench), bench.claimer()
        total = sum(await turns(bench, claimer, session, slots=500, claims=8), Counter[str]())
        assert total["tnt_flood"] == 1000

    play(scenario)


def test_full_keys_do_not_hide_a_free_one(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await flood(bench, count=1000, keys=500)
        session, claimer = await session_of(bench), bench.claimer()
        await turns(bench, claimer, session, slots=1000, claims=5)
        assert await bench.count("lease") == 501
        await bench.apply(of_tenant(bench.submit(concurrency_key="zzz"), "tnt_flood"))
        seen = await turns(bench, claimer, session, slots=10, claims=4)
        assert sum(claim["tnt_flood"] for claim in seen) == 1
        assert claimer.wait_s is not None

    play(scenario)


def test_weights_are_followed_by_claims(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        many = [of_tenant(bench.submit(), tenant) for tenant in ("tnt_a", "tnt_b") for _ in range(60)]
        await bench.apply(*many)
        async with client(bench) as http:
            await http.put("/limits/tenant:tnt_a", json={"weight": 3})
        seen = await turns(bench, bench.claimer(), await session_of(bench), slots=8, claims=5)
        assert sum(seen, Counter[str]()) == {"tnt_a": 30, "tnt_b": 10}

    play(scenario)


def test_the_least_urgent_job_starts_within_the_bound_of_ageing(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session, claimer = await session_of(bench), bench.claimer()
        plain = bench.submit(priority=1)
        await bench.apply(plain)
        started = []
        for minutes in (0, 30, 44, 46):
            bench.clock.ahead = timedelta(minutes=minutes)
            await bench.apply(*[bench.submit(priority=10) for _ in range(3)])
            for _ in range(2):
                started += await claimer.claim(session, free={"async": 1})
            if minutes < 45:
                assert plain.job_id not in {held.job.job_id for held in started}
        for _ in range(8):
            started += await claimer.claim(session, free={"async": 1})
        order = [held.job.job_id for held in started]
        late = [held.job.job_id for held in started if held.job.queued_at > bench.clock.now() - timedelta(minutes=1)]
        assert len(order) == 13
        assert order.index(plain.job_id) < min(order.index(job_id) for job_id in late)

    play(scenario)


def test_lanes_of_an_older_release_are_read_after_the_migration(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit(fairness_key="a/b", concurrency_key="k")
        await bench.apply(submit)
        folder = versions_folder("jobyard_executor")
        source: dict[str, Any] = {}
        exec((folder / "0002_queues_and_limits.py").read_text(), source)  # noqa: S102 - our own migration
        (down,) = [text for text in source["DOWN"] if "UPDATE ready" in text]
        (up,) = [text for text in source["UP"] if "UPDATE ready" in text]
        before = await bench.pool.fetchval("SELECT lane FROM ready")
        assert before == lane_of(submit.spec, tenant=submit.tenant)
        await bench.pool.execute(down)
        assert msgspec.json.decode(await bench.pool.fetchval("SELECT lane FROM ready"))[4] == "default"
        await bench.pool.execute(up)
        assert await bench.pool.fetchval("SELECT lane FROM ready") == before
        assert (await bench.pool.fetchrow(jobs.GET, submit.job_id, submit.tenant))["state"] == "queued"

    play(scenario)
