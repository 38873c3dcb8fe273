"""PostgreSQL goes back to an earlier day, in a cluster of this test's own: by a fail-over, and by copied files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_executor.domain.epoch import STRIDE, epoch_of_fence
from jobyard_executor.handlers.claim import Held
from jobyard_executor.handlers.watch_epoch import EpochRefused
from jobyard_executor.inbound import recover
from jobyard_local.testing.databases import Databases

from tests.protocol.scratch import Scratch
from tests.protocol.yard import TTL, Executor, once, submit

NOWHERE = KafkaSettings("127.0.0.1:1", "test")


async def lost_future(scratch: Scratch, dsn: str) -> tuple[Path, Held, Executor]:
    """A job is taken in; the data are copied; then it is claimed, which the copy does not know."""
    executor = Executor(dsn)
    await executor.open()
    assert executor.epochs.may_claim(), "a database that had no other life holds nobody"
    await executor.apply(submit())
    session = await executor.open_session()
    await executor.close()
    kept = await scratch.keep()
    await executor.open()
    (held,) = await executor.claim(session)
    await executor.close()
    return kept, held, executor


@pytest.mark.timeout(300)
def test_every_life_of_a_database_has_fences_of_its_own() -> None:
    """One cluster, three lives: the first, that of a promoted standby, and that of files copied back."""

    async def story() -> None:
        async with Scratch("postgres") as scratch:
            dsn = await Databases(scratch.postgres.dsn()).clone("executor", package="jobyard_executor")
            kept, lost, executor = await lost_future(scratch, dsn)
            promoted = await by_fail_over(scratch, kept, lost, executor)
            await by_hand(scratch, kept, lost, promoted, dsn)

    asyncio.run(story())


async def by_fail_over(scratch: Scratch, kept: Path, lost: Held, executor: Executor) -> Held:
    await scratch.put_back(kept, standby=True)
    assert await once(scratch.postgres.dsn(), "SELECT pg_promote()")
    await executor.open()
    assert executor.epochs.epoch == 2 and not executor.epochs.may_claim()
    assert "claims wait" in executor.epochs.check().detail
    executor.clock.ahead = TTL.total_seconds() + 1
    assert executor.epochs.may_claim() and executor.epochs.check().status == "ok"
    session = await executor.open_session()
    (found,) = await executor.claim(session)
    assert found.job.job_id == lost.job.job_id
    assert found.assignment.fence > lost.assignment.fence and epoch_of_fence(found.assignment.fence) == 2
    await executor.finish(lost)
    assert set((await executor.states()).values()) == {"running"}, "the lost attempt records nothing"
    await executor.finish(found)
    assert set((await executor.states()).values()) == {"succeeded"}
    late = Executor(executor.dsn)
    await late.open()
    assert not late.epochs.may_claim(), "a process that starts now waits for the rest of the time, too"
    await late.close()
    await executor.close()
    return found


async def by_hand(scratch: Scratch, kept: Path, lost: Held, promoted: Held, dsn: str) -> None:
    """The timeline is the first one again, and nothing in the copy says that it is old."""
    await scratch.put_back(kept)
    assert await asyncio.to_thread(recover.run, dsn, NOWHERE, ["epoch"]) == 1, "Kafka has to be asked, or left out"
    assert await asyncio.to_thread(recover.run, dsn, NOWHERE, ["epoch", "--without-kafka"]) == 0
    executor = Executor(dsn)
    await executor.open()
    assert executor.epochs.epoch == STRIDE and not executor.epochs.may_claim()
    session = await executor.open_session()
    (found,) = await executor.claim(session)
    assert found.assignment.fence > promoted.assignment.fence > lost.assignment.fence
    assert epoch_of_fence(found.assignment.fence) == STRIDE
    assert await once(dsn, "SELECT count(*) FROM outbox WHERE topic = 'audit'") == 1
    await executor.close()


def test_a_copy_in_another_cluster_is_refused_until_somebody_says_so(database: Any) -> None:
    dsn = database("executor")

    async def story() -> None:
        await once(dsn, "UPDATE recovery SET system_identifier = 1")
        executor = Executor(dsn)
        with pytest.raises(EpochRefused, match="another cluster"):
            await executor.open()
        assert "recover epoch" in executor.epochs.check().detail
        await executor.close()
        assert await asyncio.to_thread(recover.run, dsn, NOWHERE, ["epoch", "--without-kafka", "--above", "40"]) == 0
        await executor.open()
        assert executor.epochs.epoch == 2 * STRIDE
        await executor.close()

    asyncio.run(story())


def test_a_database_below_what_it_or_kafka_knows_is_refused(database: Any) -> None:
    dsn = database("executor")

    async def story() -> None:
        executor = Executor(dsn)
        await executor.open()
        executor.epochs.told(7)
        assert not executor.epochs.may_claim()
        assert "Kafka was told of epoch 7" in executor.epochs.check().detail
        await executor.close()
        await once(dsn, "INSERT INTO epoch (epoch, cause) VALUES (5, 'timeline')")
        other = Executor(dsn)
        with pytest.raises(EpochRefused, match="epoch 5 was seen"):
            await other.open()
        await other.close()

    asyncio.run(story())
