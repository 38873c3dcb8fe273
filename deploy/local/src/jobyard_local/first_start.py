"""What a new data folder needs before its services can start: a database, schemas at their newest version, a key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

from jobyard_common.db.migrate import at_head

from jobyard_local import schemas
from jobyard_local.errors import ServerFailed
from jobyard_local.home import Home
from jobyard_local.process import log_tail, run
from jobyard_local.services import DATABASE, SERVICES, Surroundings


async def make_database(dsn: str) -> None:
    """Roles, database and schemas, as far as they are missing."""
    await schemas.ensure_roles(dsn)
    await schemas.ensure_database(dsn, database=DATABASE)
    await schemas.ensure_schemas(dsn, database=DATABASE)


async def migrate(around: Surroundings, *, say: Callable[[str], None]) -> None:
    """All schemas at once; one that is at its newest version costs a query."""
    behind = []
    for service in SERVICES:
        dsn = around.environment(service)["JOBYARD_POSTGRES_DSN"]
        if not await at_head(dsn, package=f"jobyard_{service}", schema=service):
            behind.append(service)
    if not behind:
        return
    began = time.monotonic()
    # settings are checked as a whole, though a migration needs no broker
    await asyncio.gather(*(_migrate_one(service, around) for service in behind))
    say(f"schemas of {', '.join(behind)} are up to date ({time.monotonic() - began:.1f} s)")


async def _migrate_one(service: str, around: Surroundings) -> None:
    program = around.program(service, "migrate")
    code = await run(program, timeout_s=120)
    if code != 0:
        raise ServerFailed(f"the schema of {service} was not migrated; {program.log} ends:\n{log_tail(program.log)}")


async def mint_key(home: Home, around: Surroundings) -> None:
    """The first API key, minted once per home."""
    if home.api_key() is not None:
        return
    program = around.program("gateway", "mint-key")
    program.log.unlink(missing_ok=True)
    code = await run(program, timeout_s=60)
    lines = program.log.read_text().splitlines()
    for line in lines if code == 0 else []:
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict) and str(told.get("key", "")).startswith("jy_"):
                home.keep_api_key(told)
                program.log.unlink()
                return
    raise ServerFailed(f"no API key was minted; {program.log} ends:\n{log_tail(program.log)}")
