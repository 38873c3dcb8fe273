"""Why a job waits: one scenario for each reason that `explain` can give, with the words that a person reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import Backoff, Retry
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, Verdict
from jobyard_executor.store import sessions
from jobyard_executor.testing.runner import ScriptedRunner, ended

from .queue_calls import client, session_of, started

Play = Callable[[Any], None]


async def told(bench: Any, job_id: str) -> list[dict[str, Any]]:
    async with client(bench) as http:
        found: list[dict[str, Any]] = (await http.get(f"/jobs/{job_id}/explain")).json()["waiting_for"]
        return found


async def kinds(bench: Any, job_id: str) -> list[str]:
    return [row["kind"] for row in await told(bench, job_id)]


def test_nobody_could_run_it(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        job, unknown, strict = bench.submit(), bench.submit(tool="nobodys"), bench.submit(min_isolation="L3")
        await bench.know("nobodys")
        await bench.apply(job, unknown, strict)
        assert (await told(bench, job.job_id))[0]["detail"] == "No worker is alive."
        await session_of(bench)
        (row,) = await told(bench, unknown.job_id)
        assert row["kind"] == "worker" and "No worker knows nobodys in version 1" in row["detail"]
        assert (await told(bench, strict.job_id))[0] == {
            "kind": "level",
            "detail": "No worker has the sandbox level L3.",
            "until": None,
        }

    play(scenario)


def test_no_worker_serves_its_queue_or_all_of_them_drain(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        job = bench.submit()
        await bench.apply(job)
        await session_of(bench, offer=sessions.Offer(queues=["other"]))
        assert await kinds(bench, job.job_id) == ["queue"]
        await session_of(bench, "ses_2", instance="worker-2")
        assert await kinds(bench, job.job_id) == ["slot"]
        async with client(bench) as http:
            await http.post("/workers/worker-2/drain")
        (row,) = await told(bench, job.job_id)
        assert row["kind"] == "worker_draining" and "worker-2" in row["detail"]

    play(scenario)


def test_times_and_parents(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        at = bench.clock.now() + timedelta(hours=1)
        parent = bench.submit(run_at=at)
        child = bench.submit(depends_on=(parent.job_id,))
        await bench.apply(parent)
        await bench.apply(child)
        (row,) = await told(bench, parent.job_id)
        assert row["kind"] == "time" and row["until"] == at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        (row,) = await told(bench, child.job_id)
        assert (row["kind"], row["detail"]) == ("dependency", f"{parent.job_id} is scheduled.")

    play(scenario)


def test_a_pause_between_attempts_and_a_tool_at_work(play: Play) -> None:
    def fails(assignment: Assignment) -> Outcome | None:
        if b"fail" in bytes(assignment.parameters):
            return ended(assignment, Verdict.ERROR, failure=Failure("luck", "no luck"))
        return None

    async def scenario(bench: Any) -> None:
        retry = Retry(max_attempts=3, backoff=Backoff.FIXED, base_s=600.0, jitter=0.0)
        failed, works = bench.submit(retry=retry, parameters=msgspec.Raw(b'{"x":"fail"}')), bench.submit()
        await bench.apply(failed, works)
        await bench.work(ScriptedRunner(fails))
        await bench.until(failed.job_id, "retry_wait")
        (row,) = await told(bench, failed.job_id)
        assert row["kind"] == "retry" and row["until"] is not None and row["detail"].startswith("Attempt 1 failed")
        await bench.until(works.job_id, "running")
        (row,) = await told(bench, works.job_id)
        assert (row["kind"], row["detail"]) == ("tool", "Attempt 1 runs on executor-1.")

    play(scenario)


def test_a_tool_that_is_being_stopped(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        job = bench.submit()
        await bench.apply(job)
        session = await session_of(bench)
        assert await started(bench, session) == [job.job_id]
        await bench.apply(bench.cancel(job.job_id))
        assert await kinds(bench, job.job_id) == ["cancel"]
        await bench.pool.execute("UPDATE job SET state = 'queued' WHERE job_id = $1", job.job_id)
        assert await kinds(bench, job.job_id) == ["claim"], "between the queue and its worker"

    play(scenario)


def test_a_paused_queue_a_limit_of_none_and_its_place_in_the_line(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first, second = bench.submit(), bench.submit()
        other = msgspec.structs.replace(bench.submit(), tenant="tnt_other")
        await bench.apply(first)
        await bench.apply(second)
        await session_of(bench)
        assert await kinds(bench, first.job_id) == ["slot"]
        assert [row["detail"] for row in await told(bench, second.job_id)] == ["1 job of the same kind comes first."]
        await bench.apply(other)
        rows = {row["kind"]: row["detail"] for row in await told(bench, second.job_id)}
        assert rows["fairness"] == "It shares the queue's turns with 1 other fairness key."
        async with client(bench) as http:
            await http.post("/queues/default/pause")
            await http.put("/limits/tool:test.noop", json={"concurrency": 0})
        rows = {row["kind"]: row["detail"] for row in await told(bench, first.job_id)}
        assert next(iter(rows)) == "queue_paused"
        assert rows["limit"] == "The limit tool:test.noop is 0: nothing starts under it."

    play(scenario)


def test_what_has_ended_waits_for_nothing(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        job = bench.submit()
        await bench.apply(job)
        await bench.apply(bench.cancel(job.job_id))
        assert await told(bench, job.job_id) == []

    play(scenario)
