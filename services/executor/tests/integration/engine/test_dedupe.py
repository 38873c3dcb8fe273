"""One job a dedupe key: while it lives, for a time, or after silence; in races, repeats and mixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Dedupe, DedupeMode
from jobyard_executor.domain.snapshot import snapshot
from jobyard_executor.handlers.fire_timers import fire_timers
from jobyard_executor.inbound.http_shapes import result_body
from jobyard_executor.store import reading
from jobyard_executor.testing.runner import ScriptedRunner

Play = Callable[[Any], None]
WHILE_ACTIVE = Dedupe("k")
HOUR = Dedupe("k", DedupeMode.TTL, 3600.0)


def silence(bench: Any, key: str = "k", **spec: Any) -> Any:
    """A debounced submit as the gateway makes it: it starts after a minute of silence."""
    bench.clock.ahead += timedelta(milliseconds=5)
    dedupe = Dedupe(key, DedupeMode.DEBOUNCE, 60.0)
    return bench.submit(dedupe=dedupe, run_at=bench.clock.now() + timedelta(seconds=60), **spec)


async def fate(bench: Any, submit: Any) -> tuple[str, str | None, str | None]:
    job = await bench.job(submit.job_id)
    return job.state.value, job.reason, job.twin_id


def test_the_second_while_the_first_lives_is_superseded_and_names_it(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first, second, other = (bench.submit(dedupe=Dedupe(key)) for key in ("k", "k", "other"))
        await bench.apply(first)
        await bench.apply(second, other)
        assert await fate(bench, first) == ("queued", None, None)
        assert await fate(bench, second) == ("cancelled", "superseded", first.job_id)
        assert await fate(bench, other) == ("queued", None, None)
        answer = result_body(await reading.one(bench.pool, second.tenant, second.job_id), None)
        assert (answer["state"], answer["value"], answer["duplicate_of"]) == ("cancelled", None, first.job_id)
        shown = msgspec.json.decode(snapshot(await bench.job(second.job_id)))
        assert (shown["duplicate_of"], shown["attempt"], "cached_from" in shown) == (first.job_id, 0, False)
        assert "duplicate_of" not in msgspec.json.decode(snapshot(await bench.job(first.job_id)))
        data = await bench.pool.fetchval("SELECT data FROM lifecycle WHERE job_id = $1", second.job_id)
        assert msgspec.json.decode(data) == {"duplicate_of": first.job_id}
        event = (await bench.events(second.job_id))[0]
        assert event["job"]["duplicate_of"] == first.job_id

    play(scenario)


def test_a_key_is_free_again_when_its_job_has_ended(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner())
        first = bench.submit(dedupe=WHILE_ACTIVE)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        second = bench.submit(dedupe=WHILE_ACTIVE)
        await bench.apply(second)
        await bench.until(second.job_id, "succeeded")
        assert await bench.count("dedupe") == 0

    play(scenario)


def test_a_command_that_comes_again_after_its_job_ended_holds_no_key(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner())
        first = bench.submit(dedupe=WHILE_ACTIVE)
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        await bench.apply(first)
        assert await bench.count("dedupe") == 0
        second = bench.submit(dedupe=WHILE_ACTIVE)
        await bench.apply(second)
        await bench.until(second.job_id, "succeeded")

    play(scenario)


def test_a_job_that_never_lives_holds_no_key(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        stopped = bench.submit(dedupe=HOUR)
        await bench.apply(bench.cancel(stopped.job_id))
        late = bench.submit(dedupe=HOUR, deadline_at=bench.clock.now() - timedelta(seconds=1))
        unknown = bench.submit(dedupe=HOUR, tool="test.gone")
        await bench.apply(stopped, late, unknown)
        assert await fate(bench, stopped) == ("cancelled", "user", None)
        assert await fate(bench, late) == ("expired", "deadline", None)
        assert await fate(bench, unknown) == ("failed", "rejected", None)
        real = bench.submit(dedupe=HOUR)
        await bench.apply(real)
        assert await fate(bench, real) == ("queued", None, None)

    play(scenario)


def test_a_key_for_a_time_outlives_its_job_and_ends_with_its_time(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await bench.work(ScriptedRunner())
        first = bench.submit(dedupe=Dedupe("k", DedupeMode.TTL, 3600.0))
        await bench.apply(first)
        await bench.until(first.job_id, "succeeded")
        second = bench.submit(dedupe=HOUR)
        await bench.apply(second)
        assert await fate(bench, second) == ("cancelled", "superseded", first.job_id)
        await bench.pool.execute("UPDATE dedupe SET until = now() - interval '1 second'")
        third = bench.submit(dedupe=HOUR)
        await bench.apply(third)
        await bench.until(third.job_id, "succeeded")

    play(scenario)


def test_of_debounced_submits_only_the_last_one_runs_after_silence(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        submits = [silence(bench) for _ in range(5)]
        await bench.apply(submits[0])
        await bench.apply(submits[1])
        await bench.apply(*submits[2:])
        last = submits[-1].job_id
        assert await fate(bench, submits[0]) == ("cancelled", "superseded", submits[1].job_id)
        for one in submits[1:-1]:
            assert await fate(bench, one) == ("cancelled", "superseded", last)
        assert await fate(bench, submits[-1]) == ("scheduled", None, None)
        assert await bench.states(submits[0].job_id) == ["scheduled", "cancelled"]
        assert (await bench.count("timer"), await bench.count("dedupe")) == (1, 1)
        bench.clock.ahead += timedelta(seconds=61)
        await bench.work(ScriptedRunner())
        await fire_timers(bench.engine, bench.pool)
        await bench.until(last, "succeeded")
        assert await bench.count("dedupe") == 0

    play(scenario)


def test_an_older_debounced_submit_that_comes_late_does_not_win(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        older, newer = silence(bench), silence(bench)
        await bench.apply(newer)
        await bench.apply(older)
        assert await fate(bench, newer) == ("scheduled", None, None)
        assert await fate(bench, older) == ("cancelled", "superseded", newer.job_id)

    play(scenario)


def test_a_debounced_job_that_has_started_runs_on(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        runner = ScriptedRunner(lambda _assignment: None)
        await bench.work(runner)
        first = silence(bench)
        await bench.apply(first)
        bench.clock.ahead += timedelta(seconds=61)
        await fire_timers(bench.engine, bench.pool)
        await bench.until(first.job_id, "running")
        second, third = silence(bench), silence(bench)
        await bench.apply(second)
        await bench.apply(third)
        assert (await bench.job(first.job_id)).state == "running"
        assert await fate(bench, second) == ("cancelled", "superseded", third.job_id)
        assert await fate(bench, third) == ("scheduled", None, None)

    play(scenario)


def test_children_of_a_superseded_job_do_not_wait_for_ever(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        first = silence(bench)
        child = bench.submit(depends_on=(first.job_id,))
        await bench.apply(first, child)
        await bench.apply(silence(bench))
        assert (await bench.job(child.job_id)).state == "failed"
        assert (await bench.job(child.job_id)).reason == "dependency_failed"

    play(scenario)


@pytest.mark.parametrize("mode", list(DedupeMode))
def test_many_at_once_leave_one_job(play: Play, mode: DedupeMode) -> None:
    """Batches of two executors in transactions of their own, in any order: exactly one job keeps the key."""

    async def scenario(bench: Any) -> None:
        if mode is DedupeMode.DEBOUNCE:
            submits = [silence(bench) for _ in range(24)]
        else:
            submits = [bench.submit(dedupe=Dedupe("k", mode, 3600.0)) for _ in range(24)]
        batches = [submits[n::6] for n in range(6)]
        await asyncio.gather(*(_apply_apart(bench, batch) for batch in batches))
        jobs = [await bench.job(submit.job_id) for submit in submits]
        live = [job for job in jobs if job.reason != "superseded"]
        assert len(live) == 1
        if mode is DedupeMode.DEBOUNCE:
            assert live[0].job_id == submits[-1].job_id
        known = {job.job_id for job in jobs}
        assert all(job.twin_id in known for job in jobs if job is not live[0])
        assert await bench.count("dedupe") == 1

    play(scenario)


async def _apply_apart(bench: Any, batch: list[Any]) -> None:
    from jobyard_executor.handlers.ingest import Ingest

    ingest = Ingest(bench.engine)
    async with bench.pool.acquire() as connection, connection.transaction():
        await ingest.apply(connection, [bench.record(command) for command in batch])


def test_a_rolled_back_batch_leaves_no_key(play: Play) -> None:
    """The process dies before the commit; the batch comes again."""

    async def scenario(bench: Any) -> None:
        submit = bench.submit(dedupe=WHILE_ACTIVE)
        async with bench.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await bench.ingest.apply(connection, [bench.record(submit)])
            await transaction.rollback()
        assert (await bench.count("dedupe"), await bench.count("job")) == (0, 0)
        await bench.apply(submit)
        assert await fate(bench, submit) == ("queued", None, None)

    play(scenario)


def test_the_keys_of_tenants_are_their_own(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        mine = bench.submit(dedupe=WHILE_ACTIVE)
        theirs = msgspec.structs.replace(bench.submit(dedupe=WHILE_ACTIVE), tenant="tnt_other", job_id=new_id("job"))
        await bench.apply(mine, theirs)
        states = await bench.pool.fetch("SELECT state FROM job")
        assert [row[0] for row in states] == ["queued", "queued"]

    play(scenario)
