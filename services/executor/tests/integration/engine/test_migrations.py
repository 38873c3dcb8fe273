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
