"""The walk over lanes and the horizon of transactions on a real PostgreSQL, as the model has them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from hypothesis import strategies as st
from jobyard_common.messaging import outbox
from jobyard_common.messaging.relaying import Horizon
from jobyard_executor.domain.cursors import Cursors
from jobyard_executor.store import claiming, jobs

from tests.protocol import turns
from tests.protocol.database import new_job
from tests.protocol.test_conformance import conform

SEQUENCE = """
SELECT seqcache, seqcycle, seqincrement FROM pg_sequence
WHERE seqrelid = pg_get_serial_sequence('outbox', 'id')::regclass
"""


def test_an_open_transaction_holds_the_horizon(database: Any) -> None:
    """A number of the outbox is given after its transaction has an id, one by one, and never again."""
    dsn = database("executor")

    async def story() -> None:
        one, two = await asyncpg.connect(dsn, timeout=10), await asyncpg.connect(dsn, timeout=10)
        try:
            before = Horizon(*(await two.fetch(outbox.HORIZON))[0])
            transaction = one.transaction()
            await transaction.start()
            await jobs.insert(one, [new_job("job_a", now=0.0)])
            xid = await one.fetchval("SELECT pg_current_xact_id()::text::bigint")
            during = Horizon(*(await two.fetch(outbox.HORIZON))[0])
            assert before.next < xid and during.oldest <= xid < during.next
            await transaction.rollback()
            assert Horizon(*(await two.fetch(outbox.HORIZON))[0]).next > xid
            assert tuple(await two.fetchrow(SEQUENCE)) == (1, False, 1)
        finally:
            await one.close()
            await two.close()

    asyncio.run(story())


def test_the_walk_over_lanes(database: Any) -> None:
    async def check(connection: Any, case: tuple[set[str], int, int]) -> None:
        texts, flows, inside = case
        await connection.executemany(
            "INSERT INTO ready (job_id, lane, sort_at, tenant) VALUES ($1, $1, now(), 't')", [(text,) for text in texts]
        )
        cursors = Cursors(most_flows=flows, most_lanes=inside)
        for _ in range(3):
            given = {"flows_after": cursors.flows_after, "lanes_after": cursors.lanes_after, "flows": flows,
                     "lanes": inside}  # fmt: skip
            found = {(row.queue, row.flow, row.lane) for row in await claiming.lanes(connection, **given)}
            twin, _ = turns.lanes(sorted(texts), **given)
            assert found == set(twin)
            cursors.flows, cursors.lanes = flows, inside
            cursors.move(twin)

    names = st.builds(
        lambda queue, tenant, key: turns.SEPARATOR.join((f"{queue}/{tenant}/", "async", "L0", "x", "1", key)),
        st.sampled_from(("a", "b")), st.sampled_from(("t", "u", "v")), st.sampled_from(("", "k", "l", "m")),
    )  # fmt: skip
    conform(database("executor"), st.tuples(st.sets(names), st.integers(1, 3), st.integers(1, 3)), check, examples=60)
