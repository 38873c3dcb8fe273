"""Jobs from their command to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.jobs import ReplayJob, Retry, RetryJob
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.assignment import Assignment, Failure, Outcome, StopReason, Verdict
from jobyard_executor.store import reading
from jobyard_executor.testing.runner import ScriptedRunner, ended

ACTOR_MEMBERS = {"kind", "id"}


Play = Callable[[Any], None]


def waits(_assignment: Assignment) -> None:
    return None


def test_a_submit_runs_and_its_result_is_byte_true(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        value = b'{"z": 1, "a": [12345678901234567890, 1.0e3, "\\u0000"]}'
        runner = ScriptedRunner(lambda a: ended(a, value=value, stdout="hello\n"))
        await bench.work(runner)
        submit = bench.submit(tags=("x",), metadata=msgspec.Raw(b'{"k":"v"}'))
        await bench.apply(submit)
        job = await bench.until(submit.job_id, "succeeded")
        assert (job.attempt, job.event_no) == (1, 3)
        row = await reading.result(bench.pool, submit.job_id)
        assert row["value"].encode() == value
        assert row["stdout"] == "hello\n"
        events = await bench.events(submit.job_id)
        assert [event["event_no"] for event in events] == [1, 2, 3]
        assert [event["job"]["version"] for event in events] == [1, 2, 3]
        assert len({event["incarnation"] for event in events}) == 1
        assert all(event["actor"].keys() == ACTOR_MEMBERS for event in events)
        assert await bench.states(submit.job_id) == ["queued", "running", "succeeded"]
        assert (await bench.count("ready"), await bench.count("lease")) == (0, 0)

    play(scenario)


def test_a_command_delivered_again_changes_nothing(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit()
        await bench.apply(submit, submit)
        await bench.apply(submit)
        cancel = bench.cancel(submit.job_id)
        await bench.apply(cancel)
        version = (await bench.job(submit.job_id)).event_no
        await bench.apply(cancel, submit)
        job = await bench.job(submit.job_id)
        assert (job.state, job.event_no) == ("cancelled", version)
        assert await bench.count("job") == 1

    play(scenario)


def test_a_cancel_that_overtakes_its_submit_wins(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner()
        await bench.work(runner)
        submit = bench.submit()
        await bench.apply(bench.cancel(submit.job_id))
        await bench.apply(submit)
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.attempt, job.started_at) == ("cancelled", "user", 0, None)
        assert runner.assignments == []

    play(scenario)


def test_a_running_job_is_stopped_and_ends_cancelled(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(waits)
        await bench.work(runner)
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        cancel = bench.cancel(submit.job_id)
        await bench.apply(cancel)
        job = await bench.until(submit.job_id, "cancelled")
        assert (job.reason, job.attempt, job.error) == ("user", 1, None)
        assert runner.stopped[0][2] is StopReason.CANCEL
        assert await bench.states(submit.job_id) == ["queued", "running", "cancelling", "cancelled"]
        late = bench.cancel(submit.job_id)
        await bench.apply(late)
        outcome = await bench.pool.fetchval("SELECT outcome FROM command_seen WHERE command_id = $1", late.command_id)
        assert outcome == "job_finished"

    play(scenario)


def test_a_success_after_the_cancel_is_still_cancelled(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        class Deaf(ScriptedRunner):
            def stop_job(self, job_id: str, fence: int, *, reason: StopReason) -> None:
                self.stopped.append((job_id, fence, reason))

        runner = Deaf(waits)
        await bench.work(runner)
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "running")
        await bench.apply(bench.cancel(submit.job_id))
        runner.end(ended(runner.assignments[0], value=b"1"))
        await bench.until(submit.job_id, "cancelled")
        row = await reading.result(bench.pool, submit.job_id)
        assert row["value"] is None

    play(scenario)


def test_the_last_failure_leaves_a_dead_job_with_its_error(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner(lambda a: ended(a, Verdict.TIMEOUT)))
        submit = bench.submit(retry=Retry(max_attempts=1))
        await bench.apply(submit)
        job = await bench.until(submit.job_id, "failed")
        assert (job.reason, job.dead) == ("timeout", True)
        assert msgspec.json.decode(job.error)["code"] == "timeout"

    play(scenario)


def test_a_result_that_cannot_be_stored_fails_alone(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        def script(assignment: Assignment) -> Outcome:
            return ended(assignment, stdout="a\0b" if assignment.parameters == msgspec.Raw(b'{"bad":1}') else "ok")

        await bench.work(ScriptedRunner(script))
        good = [bench.submit() for _ in range(8)]
        bad = bench.submit(parameters=msgspec.Raw(b'{"bad":1}'))
        await bench.apply(*good[:4], bad, *good[4:])
        job = await bench.until(bad.job_id, "failed")
        assert (job.reason, msgspec.json.decode(job.error)["code"]) == ("error", "result_unstorable")
        for submit in good:
            await bench.until(submit.job_id, "succeeded")

    play(scenario)


def test_retry_and_replay_by_hand(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        def script(assignment: Assignment) -> Outcome:
            return ended(assignment, Verdict.ERROR, failure=Failure("x", "y", retryable=False))

        work = await bench.work(ScriptedRunner(script))
        submit = bench.submit()
        await bench.apply(submit)
        await bench.until(submit.job_id, "failed")
        await work.drain()
        again, second = new_id("job"), new_id("job")
        who = (submit.tenant, submit.actor)
        first = RetryJob(new_id("cmd"), submit.job_id, *who, again)
        await bench.apply(first)
        await bench.apply(first)
        twice = RetryJob(new_id("cmd"), submit.job_id, *who, second)
        await bench.apply(twice)
        made = await bench.job(again)
        assert (made.origin_id, made.correlation_id, made.state) == (submit.job_id, "corr-1", "queued")
        assert await bench.job(second) is None
        target = await bench.pool.fetchval("SELECT job_id FROM command_seen WHERE command_id = $1", twice.command_id)
        assert target == again
        copy = new_id("job")
        await bench.apply(ReplayJob(new_id("cmd"), submit.job_id, *who, copy, msgspec.Raw(b'{"n":2}')))
        assert '"parameters":{"n":2}' in (await bench.job(copy)).spec
        refused = ReplayJob(new_id("cmd"), copy, *who, new_id("job"))
        await bench.apply(refused)
        outcome = await bench.pool.fetchval(
            "SELECT outcome FROM command_seen WHERE command_id = $1", refused.command_id
        )
        assert outcome == "job_not_finished"

    play(scenario)


def test_one_key_is_one_job_and_another_body_is_refused(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        job_id = keyed_id("job", b"secret", tenant="t", operation="submit", key="k")
        first = bench.submit(job_id=job_id, keyed=True, body_hash="aa")
        same = bench.submit(job_id=job_id, keyed=True, body_hash="aa")
        other = bench.submit(job_id=job_id, keyed=True, body_hash="bb", priority=9)
        assert await bench.apply(first, same) == []
        refused = await bench.apply(other)
        assert [row.reason for row in refused] == ["idempotency_conflict"]
        assert '"priority":5' in (await bench.job(job_id)).spec
        types = [row["type"] for row in await bench.pool.fetch(reading.LIFECYCLE, job_id, 0, 10)]
        assert types == ["queued", "idempotency_conflict"]

    play(scenario)


def test_a_retired_tool_is_rejected_not_lost(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit(tool="test.gone")
        await bench.apply(submit)
        job = await bench.job(submit.job_id)
        assert (job.state, job.reason, job.dead, job.event_no) == ("failed", "rejected", False, 1)

    play(scenario)


def test_rubbish_is_refused_and_its_neighbours_are_not(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submit = bench.submit()
        broken = bench.record(bench.submit())
        broken.value = b'{"command_id": 1'
        nothing = bench.record(bench.submit())
        nothing.value = None
        odd = bench.record(bench.submit(job_id="job_../../etc"))
        async with bench.pool.acquire() as connection, connection.transaction():
            refused = await bench.ingest.apply(connection, [broken, bench.record(submit), nothing, odd])
        assert [row.reason for row in refused] == ["malformed_command"] * 3
        assert (await bench.job(submit.job_id)).state == "queued"

    play(scenario)


def test_urgent_jobs_start_first(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        order = [3, 9, 1, 10, 5]
        submits = [bench.submit(priority=priority, tool="test.noop.process", isolation="process") for priority in order]
        await bench.apply(*submits)
        runner = ScriptedRunner(slots={"process": 1})
        await bench.work(runner)
        for submit in submits:
            await bench.until(submit.job_id, "succeeded")
        by_id = {submit.job_id: submit.spec.priority for submit in submits}
        assert [by_id[assignment.job_id] for assignment in runner.assignments] == sorted(order, reverse=True)

    play(scenario)


def test_two_thousand_jobs_leave_nothing_behind(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner())
        submits = [bench.submit() for _ in range(2000)]
        for start in range(0, 2000, 500):
            await bench.apply(*submits[start : start + 500])
        await asyncio.gather(*(bench.until(submit.job_id, "succeeded", timeout_s=30) for submit in submits[::200]))

        async def all_done() -> bool:
            return await bench.count("job_done") == 2000

        await eventually(all_done, what="2,000 jobs done", timeout_s=30)
        assert [await bench.count(table) for table in ("ready", "lease", "timer")] == [0, 0, 0]
        assert await bench.count("outbox") == 6000
        fences = await bench.pool.fetchval("SELECT count(DISTINCT fence) FROM attempt")
        assert fences == 2000

    play(scenario)
