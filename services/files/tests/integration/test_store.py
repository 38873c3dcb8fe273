"""The schema: migrations both ways, hot queries by index, blobs that are adopted while they are being removed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from jobyard_common.db.migrate import at_head, migrate
from jobyard_files.store import blobs, files, sweeps, uploads

SHA = "ab" * 32


def test_migrations_go_up_and_down(database):
    dsn = database.empty("files")
    migrate(dsn, package="jobyard_files", schema="files")
    assert asyncio.run(at_head(dsn, package="jobyard_files", schema="files"))
    migrate(dsn, package="jobyard_files", schema="files", revision="base")

    async def tables():
        db = await asyncpg.connect(dsn)
        found = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'files'")
        await db.close()
        return {row["tablename"] for row in found}

    assert asyncio.run(tables()) == {"alembic_version"}
    migrate(dsn, package="jobyard_files", schema="files")


SEED = """
INSERT INTO file (id, tenant, name, content_type, size, received, sha256, state, created_at, expires_at, gone_at,
    job_id, attempt, fence, actor_kind, actor_id, correlation_id, traceparent)
SELECT 'file_00' || lpad(n::text, 26, '0'), 'tnt_' || n % 100, 'n' || n, 'text/csv', 10,
    CASE state WHEN 'uploading' THEN 3 ELSE 10 END,
    CASE WHEN state IN ('ready', 'held') THEN lpad(n::text, 64, '0') END, state, now(),
    CASE state WHEN 'uploading' THEN now() + interval '1 day' END,
    CASE WHEN state IN ('deleted', 'expired') THEN now() END,
    CASE WHEN n % 2 = 0 THEN 'job_' || n END, 1, 1, 'key', 'k', 'c', 't'
FROM generate_series(1, 20000) n,
    LATERAL (SELECT (ARRAY['ready', 'ready', 'ready', 'ready', 'uploading', 'held', 'deleted', 'ready'])
             [1 + n / 100 % 8] AS state) s
"""
HOT = [
    (files.FIND, ["'tnt_1'", "'file_00x'"], "file_pkey"),
    (files.LIST_PAGE, ["'tnt_1'", "NULL", "NULL", "NULL", "NULL", "50"], "file_listed"),
    (files.HASHING, ["100"], "file_hashing"),
    (files.OUTPUT_USE, ["'job_2'", "1", "1", "'tnt_2'"], "file_of_job"),
    (uploads.COUNT_OPEN, ["'tnt_1'", "100"], "file_open_of_tenant"),
    (uploads.BEGIN, ["'file_00x'", "'tnt_1'"], "file_pkey"),
    (uploads.ADVANCE, ["'file_00x'", "'tnt_1'", "1", "1", "now()", "NULL"], "file_pkey"),
    (sweeps.EXPIRE_UPLOADS, ["now()", "10"], "file_open"),
    (sweeps.OLD_ATTEMPTS, ["now() - interval '1 day'", "10"], "file_held"),
    (sweeps.LIFT_HOLDS, ["ARRAY['job_1']"], "input_hold_job"),
]


def test_hot_queries_use_their_index(database):
    async def run():
        db = await asyncpg.connect(database("files"))
        await db.execute(SEED)
        await db.execute("INSERT INTO input_hold SELECT 'file_' || n, 'job_' || n FROM generate_series(1, 20000) n")
        await db.execute("ANALYZE")
        wrong = []
        for sql, values, index in HOT:
            for number in range(len(values), 0, -1):
                sql = sql.replace(f"${number}", values[number - 1])
            plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {sql}"))
            if f"{index} " not in plan:
                wrong.append((index, plan))
        await db.close()
        assert wrong == []

    asyncio.run(run())


def test_an_adopter_waits_for_a_removal_and_stops_one_that_has_not_begun(database):
    async def run():
        pool = await asyncpg.create_pool(database("files"), min_size=2, max_size=4)
        async with pool.acquire() as db:
            await blobs.adopt(db, sha256=SHA, size=1)
        now = timedelta(seconds=-60)
        async with pool.acquire() as adopter, adopter.transaction():
            await blobs.adopt(adopter, sha256=SHA, size=1)
            assert await blobs.mark_unused(pool, grace=now, limit=10) == 0
        assert await blobs.mark_unused(pool, grace=timedelta(hours=1), limit=10) == 0
        assert await blobs.mark_unused(pool, grace=now, limit=10) == 1
        async with pool.acquire() as adopter:
            with pytest.raises(blobs.BlobLeaving):
                await blobs.adopt(adopter, sha256=SHA, size=1)
        async with pool.acquire() as sweeper, pool.acquire() as adopter:
            async with sweeper.transaction():
                assert await blobs.take_leaving(sweeper) == SHA
                adopting = asyncio.create_task(blobs.adopt(adopter, sha256=SHA, size=1))
                await asyncio.sleep(0.1)
                assert not adopting.done()
                await blobs.forget(sweeper, sha256=SHA)
            await asyncio.wait_for(adopting, 5)
        assert await pool.fetchval("SELECT state FROM blob") == "live"
        other = "cd" * 32
        assert await blobs.claim_orphans(pool, names=[SHA, other]) == [other]
        await pool.close()

    asyncio.run(run())
