"""What one does by hand with the database and the broker of a running stack."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from jobyard_common.db.migrate import at_head, migrate
from jobyard_common.messaging.topics import ensure_topics

from jobyard_local.console import Console
from jobyard_local.errors import StackError
from jobyard_local.schemas import SERVICES, dsn_of, role_of
from jobyard_local.servers.postgres import INSTALL
from jobyard_local.services import DATABASE


def operate(home: Path, what: str, *, action: str, console: Console) -> int:
    """One of `db migrate`, `db shell`, `topics list`, `topics create`; raises `StackError`."""
    stack = running_stack(home)
    match what, action:
        case "db", "migrate":
            return _migrate(stack["postgres"]["dsn"], console=console)
        case "db", "shell":
            shell = INSTALL / "bin" / "psql"
            os.execv(shell, [str(shell), stack["postgres"]["dsn"]])  # noqa: S606  (psql takes this terminal over)
        case "topics", "list":
            return asyncio.run(_list(stack["broker"]["bootstrap"], console=console))
        case "topics", "create":
            return asyncio.run(_create(stack["broker"]["bootstrap"], console=console))
    raise StackError(f"there is no `{what} {action}`; make help lists what there is")


def running_stack(home: Path) -> dict[str, Any]:
    """Its stack file; raises `StackError` if none runs in this home."""
    try:
        stack: dict[str, Any] = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        raise StackError(f"no stack runs in {home}; start one with make run") from None
    return stack


def _migrate(dsn: str, *, console: Console) -> int:
    for service in SERVICES:
        own = dsn_of(dsn, database=DATABASE, user=role_of(service))
        package = f"jobyard_{service}"
        if asyncio.run(at_head(own, package=package, schema=service)):
            console.line(f"{service}: at the newest version")
        else:
            migrate(own, package=package, schema=service)
            console.line(f"{service}: migrated")
    return 0


async def _list(bootstrap: str, *, console: Console) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for topic in sorted(await admin.describe_topics(), key=lambda row: str(row["topic"])):
            console.line(f"{topic['topic']:28} {len(topic['partitions'])} partitions")
    finally:
        await admin.close()
    return 0


async def _create(bootstrap: str, *, console: Console) -> int:
    created = await ensure_topics(bootstrap, prefix=os.environ.get("JOBYARD_TOPIC_PREFIX", ""))
    console.line(f"created {', '.join(created)}" if created else "every topic exists")
    return 0
