"""Dead letters of jobs on a real database."""

from __future__ import annotations

from typing import Any

from jobyard_common.contracts.jobs import Retry
from jobyard_executor.domain.assignment import Failure, Verdict
from jobyard_executor.testing.runner import ScriptedRunner, ended

from .bulk_calls import LETTERS, Play, begin, client, jobs, look, steps


async def dead(bench: Any, count: int, **spec: Any) -> list[str]:
    runner = ScriptedRunner(lambda a: ended(a, Verdict.ERROR, failure=Failure("x", "y", retryable=False)))
    work = await bench.work(runner)
    ids = await jobs(bench, count, retry=Retry(max_attempts=1), **spec)
    for job_id in ids:
        await bench.until(job_id, "failed")
    await work.drain()
    return ids


def test_dead_jobs_are_listed_edited_replayed_and_discarded(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first, second, third = await dead(bench, 3, tags=("night",))
        async with client(bench) as http:
            listed = (await http.get(LETTERS, params={"tag": "night"})).json()["data"]
            assert {row["id"] for row in listed} == {first, second, third}
            assert {(row["state"], row["handled"]) for row in listed} == {("open", None)}
            assert (await http.get(LETTERS, params={"tag": "day"})).json()["data"] == []
            sent = {"parameters": {"n": 2}, "note": "with a smaller n"}
            replayed = (await http.post(f"{LETTERS}/{first}/replay", json=sent)).json()
            assert (replayed["state"], replayed["handled"]["note"]) == ("replayed", "with a smaller n")
            new = await bench.job(replayed["handled"]["new_job_id"])
            assert (new.origin_id, new.state) == (first, "queued")
            assert '"parameters":{"n":2}' in new.spec.replace(" ", "")
            again = await http.post(f"{LETTERS}/{first}/replay", json={})
            assert (again.status_code, again.json()["code"]) == (409, "conflict")
            gone = (await http.post(f"{LETTERS}/{second}/discard", json={"note": "not needed"})).json()
            assert (gone["state"], gone["job"]["state"], gone["job"]["dead"]) == ("discarded", "failed", True)
            for state, ids in (("open", {third}), ("replayed", {first}), ("discarded", {second})):
                rows = (await http.get(LETTERS, params={"state": state})).json()["data"]
                assert {row["id"] for row in rows} == ids
            assert len((await http.get(LETTERS, params={"state": "all"})).json()["data"]) == 3
            assert (await http.get(f"{LETTERS}/{new.job_id}")).status_code == 404
        async with client(bench, **{"X-Jobyard-Tenant": "tnt_other"}) as http:
            assert (await http.get(f"{LETTERS}/{third}")).status_code == 404
            assert (await http.post(f"{LETTERS}/{third}/discard", json={})).status_code == 404

    play(scenario)


def test_many_dead_jobs_are_replayed_at_a_rate_or_discarded_with_a_note(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        ids = await dead(bench, 6)
        async with client(bench) as http:
            await http.post(f"{LETTERS}/{ids[0]}/discard", json={})
        bulk = await begin(bench, action="replay", filter=[("tool", "test.noop")], dead=True, rate_per_s=1000)
        await steps(bench)
        found = await look(bench, bulk["id"])
        assert (found["done"], found["refused"]) == (5, {})
        async with client(bench) as http:
            rows = (await http.get(LETTERS, params={"state": "replayed"})).json()["data"]
            assert {row["id"] for row in rows} == set(ids[1:])
        bulk = await begin(bench, action="discard", ids=[*ids, *(await jobs(bench, 1))], note="enough")
        await steps(bench)
        assert (await look(bench, bulk["id"]))["refused"] == {"conflict": 7}

    play(scenario)
