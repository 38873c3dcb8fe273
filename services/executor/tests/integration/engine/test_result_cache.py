"""An earlier result answers for the same input."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Cache, Dedupe, ReplayJob, Retry, RetryJob
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, OutputFile, Verdict
from jobyard_executor.domain.snapshot import snapshot
from jobyard_executor.store import reading
from jobyard_executor.testing.runner import ScriptedRunner, ended

Play = Callable[[Any], None]
KEPT = Cache("a" * 64, 3600.0)
FILE = OutputFile("file_1", "out.txt", 3, "ab", "text/plain")


def answers(assignment: Assignment) -> Outcome:
    return msgspec.structs.replace(ended(assignment, value=b'{"n": 1.50}', stdout="worked\n"), files=(FILE,))


def test_a_second_job_with_the_same_input_is_born_with_the_first_one_s_result(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(answers)
        await bench.work(runner)
        first = bench.submit(cache=KEPT)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        second = bench.submit(cache=KEPT)
        child = bench.submit(depends_on=(second.job_id,))
        await bench.apply(second, child)
        job = await bench.job(second.job_id)
        assert (job.state, job.attempt, job.event_no, job.twin_id) == ("succeeded", 0, 1, first.job_id)
        row = await reading.result(bench.pool, second.job_id)
        assert (row["value"], row["stdout"]) == ('{"n": 1.50}', "")
        assert msgspec.json.decode(row["files"])[0]["file_id"] == "file_1"
        data = await bench.pool.fetchval("SELECT data FROM lifecycle WHERE job_id = $1", second.job_id)
        assert msgspec.json.decode(data) == {"cached_from": first.job_id}
        shown = msgspec.json.decode(snapshot(job))
        assert (shown["cached_from"], shown["started_at"], shown["run_ms"]) == (first.job_id, None, None)
        assert [event["job"]["state"] for event in await bench.events(second.job_id)] == ["succeeded"]
        await bench.until(child.job_id, "succeeded")
        assert second.job_id not in [assignment.job_id for assignment in runner.assignments]

    play(scenario)


def test_failures_other_inputs_and_other_tenants_are_no_answers(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        fails = True

        def flaky(assignment: Assignment) -> Outcome:
            return ended(assignment, Verdict.ERROR, failure=Failure("x", "y")) if fails else answers(assignment)

        await bench.work(ScriptedRunner(flaky))
        failed = bench.submit(cache=KEPT, retry=Retry(max_attempts=1))
        await bench.apply(failed)
        await bench.until(failed.job_id, "failed")
        assert await bench.count("result_cache") == 0
        fails = False
        first = bench.submit(cache=KEPT)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        other = bench.submit(cache=Cache("b" * 64, 3600.0))
        theirs = msgspec.structs.replace(bench.submit(cache=KEPT), tenant="tnt_other")
        await bench.apply(other, theirs)
        await bench.until(other.job_id, "succeeded")
        assert (await bench.job(other.job_id)).attempt == 1
        assert await bench.pool.fetchval("SELECT twin_id FROM job WHERE job_id = $1", theirs.job_id) is None

    play(scenario)


def test_a_result_is_no_answer_after_its_time_and_a_fresh_run_replaces_it(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(answers))
        first = bench.submit(cache=KEPT)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        fresh = bench.submit(cache=msgspec.structs.replace(KEPT, read=False))
        await bench.apply(fresh)
        assert (await bench.until(fresh.job_id, "succeeded")).attempt == 1
        hit = bench.submit(cache=KEPT)
        await bench.apply(hit)
        assert (await bench.job(hit.job_id)).twin_id == fresh.job_id
        await bench.pool.execute("UPDATE result_cache SET until = $1", bench.clock.now())
        late = bench.submit(cache=KEPT)
        await bench.apply(late)
        assert (await bench.until(late.job_id, "succeeded")).attempt == 1

    play(scenario)


def test_a_retry_or_replay_runs_and_one_with_other_parameters_keeps_nothing(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(answers))
        first = bench.submit(cache=KEPT)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        who = (first.tenant, first.actor)
        again, changed = new_id("job"), new_id("job")
        await bench.apply(ReplayJob(new_id("cmd"), first.job_id, *who, again))
        await bench.apply(ReplayJob(new_id("cmd"), first.job_id, *who, changed, msgspec.Raw(b'{"n":2}')))
        for job_id in (again, changed):
            assert (await bench.until(job_id, "succeeded")).attempt == 1
        assert await bench.pool.fetchval("SELECT job_id FROM result_cache") == again
        await bench.apply(RetryJob(new_id("cmd"), changed, *who, new_id("job")))

    play(scenario)


def test_only_a_job_that_would_run_at_once_takes_an_answer(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(answers))
        first = bench.submit(cache=KEPT)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        later = bench.submit(cache=KEPT, run_at=bench.clock.now() + timedelta(hours=1))
        stopped = bench.submit(cache=KEPT)
        await bench.apply(bench.cancel(stopped.job_id))
        hit = bench.submit(cache=KEPT, dedupe=Dedupe("k"))
        await bench.apply(later, stopped, hit)
        assert (await bench.job(later.job_id)).state == "scheduled"
        assert (await bench.job(stopped.job_id)).state == "cancelled"
        assert (await bench.job(hit.job_id)).state == "succeeded"
        assert await bench.count("dedupe") == 0

    play(scenario)
