"""Stored workflows: every version of a name is a row of its own and never changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.db.connection import Connection


class Workflow(msgspec.Struct):
    """A row of `workflow`. `hash` is over graph and description."""

    workflow_id: str
    tenant: str
    name: str
    version: int
    description: str
    graph: str
    hash: str
    steps: int
    actor: str
    created_at: datetime


_LIST = ", ".join(Workflow.__struct_fields__)
BY_ID = f"SELECT {_LIST} FROM workflow WHERE tenant = $1 AND workflow_id = $2"
BY_NAME = f"""
SELECT {_LIST} FROM workflow WHERE tenant = $1 AND name = $2 AND deleted_at IS NULL ORDER BY version DESC LIMIT 1
"""
BY_VERSION = f"SELECT {_LIST} FROM workflow WHERE tenant = $1 AND name = $2 AND version = $3 AND deleted_at IS NULL"
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))"
LAST_VERSION = "SELECT coalesce(max(version), 0) FROM workflow WHERE tenant = $1 AND name = $2"
INSERT = f"INSERT INTO workflow ({_LIST}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
DELETE = """
UPDATE workflow SET deleted_at = $3 WHERE tenant = $1 AND workflow_id = $2 AND deleted_at IS NULL RETURNING name
"""
PAGE = f"""
SELECT {_LIST.replace("graph", "'' AS graph")} FROM workflow
WHERE tenant = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR name = $2)
    AND ($3::timestamptz IS NULL OR (created_at, workflow_id) < ($3, $4))
ORDER BY created_at DESC, workflow_id DESC LIMIT $5
"""


async def find(connection: Any, tenant: str, reference: str) -> Workflow | None:
    """A workflow by id, by `name@version`, or the newest version of a name. An id finds a deleted one, too."""
    name, _, version = reference.partition("@")
    if is_id("wfl", reference):
        row = await connection.fetchrow(BY_ID, tenant, reference)
    elif version.isascii() and version.isdigit() and len(version) < 9:
        row = await connection.fetchrow(BY_VERSION, tenant, name, int(version))
    elif version or "@" in reference:
        return None
    else:
        row = await connection.fetchrow(BY_NAME, tenant, name)
    return None if row is None else Workflow(*row)


async def insert(connection: Connection, workflow: Workflow) -> None:
    await connection.execute(INSERT, *msgspec.structs.astuple(workflow))


async def page(
    connection: Any, tenant: str, *, name: str | None, after: tuple[datetime, str] | None, limit: int
) -> list[Workflow]:
    """Newest first, without their graphs, one more than asked for."""
    at, last = after or (None, None)
    return [Workflow(*row) for row in await connection.fetch(PAGE, tenant, name, at, last, limit + 1)]
