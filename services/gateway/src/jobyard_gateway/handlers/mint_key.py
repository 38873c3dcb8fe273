"""The first key of an installation, made where its database is."""

from __future__ import annotations

import asyncpg
import msgspec

from jobyard_gateway.domain import api_keys
from jobyard_gateway.domain.permissions import Role
from jobyard_gateway.handlers.administer import DEFAULT_TENANT
from jobyard_gateway.store.keys import bootstrap
from jobyard_gateway.store.secrets import ensure


async def mint_key(dsn: str) -> str:
    """One JSON line `{"id", "key", "tenant_id"}`: an operator's key of the default tenant, which is made if missing."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        secrets = await ensure(connection)
        minted = api_keys.mint()
        digest = api_keys.digest(minted.text, pepper=secrets.pepper)
        await bootstrap(connection, tenant=DEFAULT_TENANT, key_id=minted.id, role=Role.OPERATOR, digest=digest)
    finally:
        await connection.close()
    return msgspec.json.encode({"id": minted.id, "key": minted.text, "tenant_id": DEFAULT_TENANT}).decode()
