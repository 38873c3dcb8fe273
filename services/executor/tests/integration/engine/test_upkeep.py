"""What claims rely on to stay cheap: jobs remembered from their birth, and queues without dead rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from jobyard_common.testing.eventually import eventually
from jobyard_executor.domain.newborn import Newborns
from jobyard_executor.handlers.keep_queues_short import AFTER, KeepQueuesShort

from .queue_calls import session_of

Play = Callable[[Any], None]
VACUUMED = "SELECT min(vacuum_count) FROM pg_stat_user_tables WHERE relname IN ('ready', 'lease', 'outbox')"


def test_a_claim_from_memory_is_a_claim_from_the_table(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session, claimer = await session_of(bench), bench.claimer()
        forgotten = [bench.submit(ttl_s=600.0, metadata=msgspec.Raw(b'{"n":1}')) for _ in range(4)]
        await bench.apply(*forgotten)
        bench.engine.newborns = Newborns()
        known = [bench.submit(tags=("a",), priority=3) for _ in range(9)]
        await bench.apply(*known)
        assert len(bench.engine.newborns) == 9
        held = await claimer.claim(session, free={"async": 50})
        assert {one.job.job_id for one in held} == {submit.job_id for submit in (*forgotten, *known)}
        assert len(bench.engine.newborns) == 0
        for one in held:
            assert one.job == await bench.job(one.job.job_id)
            assert msgspec.json.decode(one.job.spec) == msgspec.json.decode(msgspec.json.encode(one.spec))

    play(scenario)


def test_a_job_that_changed_since_its_birth_is_read_anew(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        session, claimer = await session_of(bench), bench.claimer()
        submits = [bench.submit() for _ in range(3)]
        await bench.apply(*submits)
        await bench.pool.execute("UPDATE job SET event_no = 5, failures = 2 WHERE job_id = $1", submits[0].job_id)
        held = {one.job.job_id: one.job for one in await claimer.claim(session, free={"async": 50})}
        assert (held[submits[0].job_id].event_no, held[submits[0].job_id].failures) == (6, 2)
        assert held[submits[1].job_id].event_no == 2

    play(scenario)


def test_births_that_were_rolled_back_are_not_remembered(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        async with bench.by_key.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await bench.ingest.apply(connection, [bench.record(bench.submit())])
            await transaction.rollback()
        await bench.apply()
        assert len(bench.engine.newborns) == 0

    play(scenario)


def test_queues_are_vacuumed_when_many_jobs_have_passed(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        keep = KeepQueuesShort(bench.engine, bench.pool)
        await keep.work()
        assert await bench.pool.fetchval(VACUUMED) == 0
        bench.engine.started += AFTER

        async def vacuumed() -> bool:
            await keep.work()
            bench.engine.started += AFTER
            return bool(await bench.pool.fetchval(VACUUMED))

        await eventually(vacuumed, what="a vacuum of all three", timeout_s=20)

    play(scenario)
