"""What is forgotten, and what is not: the ids of keyed jobs, the jobs behind them, commands and tombstones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jobyard_common.contracts.ids import keyed_id
from jobyard_executor.handlers.prune import COMMANDS_KEPT, prune
from jobyard_executor.store.partitions import TABLES
from jobyard_executor.testing.runner import ScriptedRunner

Play = Callable[[Any], None]
TENANT = "tnt_test"
RETENTION = timedelta(days=30)


def keyed(key: str) -> str:
    return keyed_id("job", b"secret" * 8, tenant=TENANT, operation="submit", key=key)


async def left(bench: Any, job_id: str) -> list[str]:
    """The tables that still know the job."""
    tables = [*TABLES, "keyed_id", "ready"]
    return [t for t in tables if await bench.pool.fetchval(f"SELECT true FROM {t} WHERE job_id = $1 LIMIT 1", job_id)]


def test_a_keyed_job_is_forgotten_after_its_time_and_its_key_later(play: Play) -> None:
    """Until the key is forgotten, too, a repeat is known as one; after it the id may be used again."""

    async def scenario(bench: Any) -> None:
        submit = bench.submit(job_id=keyed("a"), keyed=True, body_hash="h")
        await bench.apply(submit)
        await bench.work(ScriptedRunner())
        await bench.until(submit.job_id, "succeeded")
        assert {"job", "job_list", "job_done", "keyed_id"} <= set(await left(bench, submit.job_id))

        bench.clock.ahead = RETENTION - timedelta(hours=1)
        await prune(bench.engine, bench.pool, retention=RETENTION)
        assert {"job", "job_list", "job_done", "keyed_id"} <= set(await left(bench, submit.job_id))

        bench.clock.ahead = RETENTION + timedelta(hours=1)
        await prune(bench.engine, bench.pool, retention=RETENTION)
        assert await left(bench, submit.job_id) == ["keyed_id"]

        bench.clock.ahead = bench.engine.keyed_life + timedelta(hours=1)
        await prune(bench.engine, bench.pool, retention=RETENTION)
        assert await left(bench, submit.job_id) == []

    play(scenario)


def test_a_keyed_job_that_has_not_ended_is_kept_however_old_it_is(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        waiting = bench.submit(job_id=keyed("b"), keyed=True, body_hash="h", run_at=bench.clock.now() + 9 * RETENTION)
        await bench.apply(waiting)
        bench.clock.ahead = 2 * RETENTION
        await prune(bench.engine, bench.pool, retention=RETENTION)
        assert {"job", "job_list"} <= set(await left(bench, waiting.job_id))
        assert (await bench.job(waiting.job_id)).state == "scheduled"

    play(scenario)


def test_commands_and_tombstones_outlive_their_records_in_kafka(play: Play) -> None:
    """A command that is delivered again while Kafka still has it must find that it was applied."""

    async def scenario(bench: Any) -> None:
        await bench.apply(bench.cancel(keyed("never submitted")))
        assert (await bench.count("command_seen"), await bench.count("tombstone")) == (1, 1)

        bench.clock.ahead = COMMANDS_KEPT - timedelta(hours=1)
        await prune(bench.engine, bench.pool, retention=RETENTION)
        assert (await bench.count("command_seen"), await bench.count("tombstone")) == (1, 1)

        bench.clock.ahead = COMMANDS_KEPT + timedelta(hours=1)
        await prune(bench.engine, bench.pool, retention=RETENTION)
        assert (await bench.count("command_seen"), await bench.count("tombstone")) == (0, 0)

    play(scenario)
