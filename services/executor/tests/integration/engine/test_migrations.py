"""Every migration can be taken back, step by step, and leaves exactly what was there before it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from jobyard_common.db.migrate import VERSION_TABLE, migrate, versions_folder

PACKAGE, SCHEMA = "jobyard_executor", "executor"
COLUMNS = """
SELECT c.relname, c.relkind::text, coalesce(array_to_string(c.reloptions, ','), ''), a.attname,
       format_type(a.atttypid, a.atttypmod), a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
       coalesce(l.collname, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE n.nspname = $1 AND c.relname <> $2 AND c.relkind IN ('r', 'p', 'S', 'v', 'm')
"""
INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename <> $2"
CONSTRAINTS = """
SELECT r.conrelid::regclass::text, r.conname, pg_get_constraintdef(r.oid)
FROM pg_constraint r JOIN pg_class c ON c.oid = r.conrelid JOIN pg_namespace n ON n.oid = r.connamespace
WHERE n.nspname = $1 AND c.relname <> $2
"""
CODE = """
SELECT p.proname, pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = $1 AND $2::text IS NOT NULL
"""


def shape(dsn: str) -> set[tuple[Any, ...]]:
    """All that a schema holds, except its rows and its version."""

    async def look() -> set[tuple[Any, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            found = set()
            for query in (COLUMNS, INDEXES, CONSTRAINTS, CODE):
                found |= {tuple(row) for row in await connection.fetch(query, SCHEMA, VERSION_TABLE)}
            return found
        finally:
            await connection.close()

    return asyncio.run(look())


def test_up_down_and_up_again(database: Any) -> None:
    dsn = database.empty("executor")
    revisions = [path.name[:4] for path in sorted(versions_folder(PACKAGE).glob("[0-9]*.py"))]
    assert len(revisions) > 1

    shapes = {"base": shape(dsn)}
    assert shapes["base"] == set()
    for revision in revisions:
        migrate(dsn, package=PACKAGE, schema=SCHEMA, revision=revision)
        shapes[revision] = shape(dsn)

    wrong = {}
    for revision in reversed(["base", *revisions[:-1]]):
        migrate(dsn, package=PACKAGE, schema=SCHEMA, revision=revision)
        left = shape(dsn) ^ shapes[revision]
        if left:
            wrong[revision] = sorted(map(str, left))
    assert wrong == {}

    migrate(dsn, package=PACKAGE, schema=SCHEMA)
    assert shape(dsn) == shapes[revisions[-1]]


def test_lists_of_jobs_that_were_there_before_their_labels(database: Any) -> None:
    dsn = database.empty("executor")
    migrate(dsn, package=PACKAGE, schema=SCHEMA, revision="0008")
    week = "FOR VALUES FROM ('job_0001') TO ('job_0002')"

    async def run(*statements: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return [tuple(row) for row in await connection.fetch(statements[-1])]
        finally:
            await connection.close()

    asyncio.run(
        run(
            f"CREATE TABLE job_w1 PARTITION OF job {week}",
            f"CREATE TABLE job_list_w1 PARTITION OF job_list {week}",
            "INSERT INTO job (job_id, tenant, state, event_no, born_ms, created_at, correlation_id, traceparent, "
            "actor, spec, dead, schedule_id) SELECT 'job_0001' || n, 't', 'failed', 1, 1, now(), 'c', 't', '{}', '{}', "
            "true, 'sch_1' FROM generate_series(1, 2) n",
            "INSERT INTO job_list (job_id, tenant, created_at, tool, queue, correlation_id, labels) "
            "SELECT job_id, tenant, created_at, 't', 'q', 'c', '{t:a,t:a}' FROM job",
            "INSERT INTO dead_letter (job_id, tenant, action, actor, at) VALUES ('job_00011', 't', 'replayed', '{}', "
            "now()) RETURNING 1",
        )
    )
    migrate(dsn, package=PACKAGE, schema=SCHEMA)
    found = asyncio.run(run("SELECT tableoid::regclass::text, job_id, label FROM job_label ORDER BY 2, 3"))
    labels = {"job_00011": ("d:replayed", "s:sch_1", "t:a"), "job_00012": ("d:open", "s:sch_1", "t:a")}
    assert found == [("job_label_w1", job_id, label) for job_id, rows in labels.items() for label in rows]
