"""What the model says of PostgreSQL is what PostgreSQL does: the product's own statements against their twins.

Each example is a small random state in a transaction that is rolled back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobyard_common.contracts.jobs import JobState
from jobyard_common.messaging import offsets, outbox
from jobyard_common.messaging.publisher import OutRecord
from jobyard_executor.domain.epoch import fence_of
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.ownership import owns
from jobyard_executor.store import claiming, commands, jobs, recovery, sessions

from tests.protocol import rules
from tests.protocol.database import Worker, new_job
from tests.protocol.yard import TTL

EXAMPLES = 150
IDENTITY, TOPIC = "cluster/topic", "jobs.commands"
Check = Callable[[Any, Any], Awaitable[None]]


class _Undo(Exception):
    """Every example leaves the database as it was."""


def conform(dsn: str, cases: st.SearchStrategy[Any], check: Check, *, examples: int = EXAMPLES) -> None:
    """Run `check(connection, case)` for many cases."""
    seen = 0

    async def one(connection: Any, case: Any) -> None:
        try:
            async with connection.transaction():
                await check(connection, case)
                raise _Undo
        except _Undo:
            pass

    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(dsn, timeout=10))
        try:

            @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(cases)
            def every(case: Any) -> None:
                nonlocal seen
                seen += 1
                runner.run(one(connection, case))

            every()
        finally:
            runner.run(connection.close())
    assert seen >= min(examples, 20)


places = st.tuples(st.integers(0, 2), st.sampled_from((None, b"a", b"b")))
# Never the moment itself: two statements do not share one.
moments = st.sampled_from((-90.0, -31.0, -5.0, 5.0, 31.0, 90.0))
workers = st.tuples(st.booleans(), moments, st.integers(0, 3))


async def put_worker(connection: Any, name: str, case: tuple[bool, float, int]) -> Worker:
    """A session that expires so many seconds from now, and its twin at the moment 0."""
    reaped, expires, beat = case
    who = sessions.Identity("i", "h", "b", 1, 1)
    await sessions.open_session(connection, name, who, ttl=timedelta(seconds=expires), tools=[], levels=[], slots="{}")
    await connection.execute("UPDATE worker SET reaped = $2, beat = $3 WHERE session = $1", name, reaped, beat)
    worker = Worker("i", expires)
    worker.reaped, worker.beat = reaped, beat
    return worker


def test_the_compare_and_set_of_an_offset(database: Any) -> None:
    async def check(connection: Any, case: tuple[rules.Place, rules.Place]) -> None:
        stored, held = case
        await connection.execute(
            "INSERT INTO consumer_offset (cluster_id, topic, partition, next, fingerprint) VALUES ($1, $2, 0, $3, $4)",
            IDENTITY, TOPIC, *stored,
        )  # fmt: skip
        try:
            await offsets.move(connection, [offsets.Move(0, *held, 9, b"z")], identity=IDENTITY, topic=TOPIC)
            moved = True
        except offsets.Superseded:
            moved = False
        assert moved == rules.moves(stored, held)

    conform(database("executor"), st.tuples(places, places), check)


def test_a_partition_that_was_never_read_begins_at_its_beginning(database: Any) -> None:
    async def check(connection: Any, partitions: set[int]) -> None:
        numbers = sorted(partitions)
        found = await offsets.load(connection, identity=IDENTITY, topic=TOPIC, partitions=numbers)
        assert {number: place.next for number, place in found.items()} == dict.fromkeys(
            numbers, rules.missing_offset(99)
        )

    conform(database("executor"), st.sets(st.integers(0, 20)), check, examples=30)


def test_offsets_from_before_topics_were_told_apart_are_adopted(database: Any) -> None:
    async def check(connection: Any, place: int) -> None:
        await connection.execute(
            "INSERT INTO consumer_offset (cluster_id, topic, partition, next) VALUES ('cluster', $1, 0, $2)",
            TOPIC,
            place,
        )
        found = await offsets.load(connection, identity=IDENTITY, topic=TOPIC, partitions=[0])
        assert found[0].next == place
        other = await offsets.load(connection, identity="cluster/other", topic=TOPIC, partitions=[0])
        assert other[0].next == 0

    conform(database("executor"), st.integers(0, 99), check, examples=20)


def test_beats(database: Any) -> None:
    async def check(connection: Any, case: tuple[bool, float, int]) -> None:
        worker = await put_worker(connection, "s", case)
        assert await sessions.beat(connection, "s", ttl=TTL) == rules.extends(worker, db_now=0.0)

    conform(database("executor"), workers, check)


def test_the_first_statement_of_a_claim(database: Any) -> None:
    async def check(connection: Any, case: tuple[bool, float, int]) -> None:
        worker = await put_worker(connection, "s", case)
        alive = await claiming.alive(connection, "s")
        assert (alive is not None) == rules.claims(worker, db_now=0.0)
        assert not await claiming.alive(connection, "another")

    conform(database("executor"), workers, check)


def test_what_a_reaper_sees_and_seizes(database: Any) -> None:
    async def check(connection: Any, case: tuple[tuple[bool, float, int], int]) -> None:
        worker = await put_worker(connection, "s", case[0])
        seen = {row.session: row for row in await sessions.others(connection, "mine")}
        assert ("s" in seen) == (not worker.reaped)
        if "s" in seen:
            assert seen["s"].expired == rules.expired(worker, db_now=0.0) and seen["s"].beat == worker.beat
        assert await sessions.seize(connection, "s", beat=case[1]) == rules.seizes(worker, beat=case[1])

    conform(database("executor"), st.tuples(workers, st.integers(0, 3)), check)


def test_leases_of_nobody(database: Any) -> None:
    async def check(connection: Any, case: list[tuple[tuple[bool, float, int] | None, float]]) -> None:
        wanted = set()
        for number, (who, claimed) in enumerate(case):
            name, job_id = f"s{number}", f"job_{number}"
            worker = None if who is None else await put_worker(connection, name, who)
            await put_lease(connection, job_id, session=name, claimed=claimed)
            if _orphaned(claimed, worker):
                wanted.add(job_id)
        assert set(await sessions.orphans(connection, older_than=TTL, limit=100)) == wanted

    cases = st.lists(st.tuples(st.none() | workers, st.sampled_from((-90.0, -31.0, -29.0, -1.0))), max_size=4)
    conform(database("executor"), cases, check)


def _orphaned(claimed: float, worker: Worker | None) -> bool:
    """The twin knows the short TTL of the model."""
    return rules.orphaned(claimed + TTL.total_seconds() - rules.TTL, worker, db_now=0.0)


async def put_lease(connection: Any, job_id: str, *, session: str, claimed: float, fence: int = 1) -> None:
    await connection.execute(
        "INSERT INTO lease (job_id, fence, session, claim_id, claimed_at, tenant, queue, tool, attempt, started_at) "
        "VALUES ($1, $2, $3, 'c', clock_timestamp() + $4::interval, 't', 'q', 'x', 1, now())",
        job_id, fence, session, timedelta(seconds=claimed),
    )  # fmt: skip


def test_which_commands_were_applied(database: Any) -> None:
    async def check(connection: Any, case: tuple[set[str], list[str]]) -> None:
        applied, asked = case
        for name in applied:
            await connection.execute(
                "INSERT INTO command_seen (command_id, tenant, outcome, job_id, at) "
                "VALUES ($1, 't', 'applied', 'j', now())",
                name,
            )
        seen = await commands.seen(connection, asked)
        assert seen == {name for name in asked if rules.is_seen(name, applied)}

    names = st.sampled_from(("cmd_a", "cmd_b", "cmd_c", "cmd_d"))
    conform(database("executor"), st.tuples(st.sets(names), st.lists(names)), check)


Row = tuple[JobState, int, str | None, int]
rows = st.tuples(
    st.sampled_from(sorted(JobState)), st.integers(0, 2), st.sampled_from((None, "s1", "s2")), st.integers(1, 3)
)


def test_an_end_is_judged_by_the_row_as_it_is_now(database: Any) -> None:
    """What a worker remembers of its job may be old: the lock brings the row, and `owns` decides by that."""

    async def check(connection: Any, case: tuple[Row, Row, int, str]) -> None:
        stored, remembered, fence, session = case
        await jobs.insert(connection, [new_job("job_a", now=0.0)])
        await connection.execute(
            "UPDATE job SET state = $1, fence = $2, session = $3, event_no = $4 WHERE job_id = 'job_a'", *stored
        )
        truth, memory = _row(stored), _row(remembered)
        if (stored[1:]) == (remembered[1:]):
            # No commit leaves the same number, fence and session behind with another state.
            memory.state = truth.state
        found = (await jobs.lock_held(connection, {"job_a": memory})).jobs["job_a"]
        assert owns(found, fence=fence, session=session) == owns(truth, fence=fence, session=session)

    cases = st.tuples(rows, rows, st.integers(0, 2), st.sampled_from(("s1", "s2")))
    conform(database("executor"), cases, check)


def _row(row: Row) -> Job:
    return new_job("job_a", now=0.0, state=row[0], fence=row[1], session=row[2], event_no=row[3])


def test_which_outbox_rows_go_next(database: Any) -> None:
    async def check(connection: Any, case: tuple[int, set[int], int, int]) -> None:
        count, gone, begins, limit = case
        await outbox.put(connection, [OutRecord("t", f"k{n}", b"v", []) for n in range(count)])
        ids = [row[0] for row in await connection.fetch("SELECT id FROM outbox ORDER BY id")]
        kept = [number for place, number in enumerate(ids) if place not in gone]
        await connection.execute("DELETE FROM outbox WHERE NOT id = ANY($1::bigint[])", kept)
        first = (ids[0] if ids else 0) + begins
        found = [row[0] for row in await connection.fetch(outbox.TAKE_ALL, first, limit)]
        assert found == rules.found_rows(kept, first, limit)

    cases = st.tuples(st.integers(0, 8), st.sets(st.integers(0, 7)), st.integers(-1, 8), st.integers(1, 4))
    conform(database("executor"), cases, check)


def test_fences_are_made_of_the_epoch_and_a_number(database: Any) -> None:
    async def check(connection: Any, added: int) -> None:
        await recovery.raise_to(connection, added=added)
        found = await recovery.look(connection)
        assert found.epoch == found.timeline + added and found.at_home
        await jobs.insert(connection, [new_job("job_a", now=0.0)])
        row = await connection.fetchrow(claiming.TAKE, ["job_a"])
        serial = await connection.fetchval("SELECT last_value FROM fence_seq")
        assert row["next_fence"] == fence_of(found.epoch, serial)
        assert row["epoch"] == found.epoch

    conform(database("executor"), st.integers(0, 2000), check, examples=40)
