"""Each service migrates its own schema with its own version table.

A service holds only `migrations/versions/NNNN_name.py`; this is the environment for all of them. An advisory lock lets
one migration run at a time, and lock waits are short, so that a migration never queues everybody behind itself.
"""

from __future__ import annotations

import asyncio
import re
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg

from jobyard_common.runtime.crash import crash

VERSION_TABLE = "alembic_version"
_REVISION = re.compile(r"^revision(?:\s*:\s*\w+)?\s*=\s*['\"]([^'\"]+)['\"]", re.MULTILINE)


def versions_folder(package: str) -> Path:
    return Path(str(resources.files(package))) / "migrations" / "versions"


def head_of(package: str) -> str:
    """The newest revision, by file name: numbers grow and there is one line of descent."""
    newest = max(versions_folder(package).glob("[0-9]*.py"))
    found = _REVISION.search(newest.read_text())
    if found is None:
        raise ValueError(f"{newest.name} names no revision")
    return found[1]


async def at_head(dsn: str, *, package: str, schema: str) -> bool:
    """Whether the schema is at the newest revision; costs one query and no import of Alembic."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        current = await connection.fetchval(f"SELECT version_num FROM {schema}.{VERSION_TABLE}")
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    return bool(current == head_of(package))


def migrate(dsn: str, *, package: str, schema: str, revision: str = "head") -> None:
    """Bring `schema` to `revision` (or down to it, if it is older)."""
    asyncio.run(_migrate(dsn, package=package, schema=schema, revision=revision))


async def _migrate(dsn: str, *, package: str, schema: str, revision: str) -> None:
    from jobyard_common.db.engine import make_engine

    engine = make_engine(dsn, application_name=f"{schema}-migrate", pooled=False)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run, package, schema, revision)
            await connection.commit()
    finally:
        await engine.dispose()


def _run(connection: Any, package: str, schema: str, revision: str) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import text

    folder = versions_folder(package)
    config = Config()
    config.set_main_option("script_location", str(folder.parent))
    config.set_main_option("version_locations", str(folder))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory(str(folder.parent), version_locations=[str(folder)])

    def steps(current: Any, _context: Any) -> Any:
        known = current[0] if current else None
        ours = {step.revision for step in script.walk_revisions()}
        if known is not None and revision == "head" and known not in ours:
            # A newer release was here before us: what it added does not hurt us, and is not ours to judge.
            return []
        target = script.as_revision_number(revision)
        ahead = {step.revision for step in script.iterate_revisions(known, "base")} if known else set()
        wanted = target[0] if isinstance(target, tuple | list) else target
        if wanted is None or (wanted in ahead and wanted != known):
            return script._downgrade_revs(revision, current)
        return script._upgrade_revs(revision, current)

    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_lock(hashtext(:name))"), {"name": f"migrate {schema}"})
    connection.commit()
    try:
        with EnvironmentContext(config, script, fn=steps) as environment:
            environment.configure(
                connection=connection,
                version_table_schema=schema,
                version_table=VERSION_TABLE,
                on_version_apply=lambda **_: crash("K16"),
            )
            with environment.begin_transaction():
                environment.run_migrations()
        connection.commit()
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(hashtext(:name))"), {"name": f"migrate {schema}"})
