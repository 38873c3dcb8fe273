"""Looking up a key by its id, and the administration of tenants and keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from jobyard_common.db.connection import Connection, Pool
from jobyard_common.db.deadline import within
from jobyard_common.messaging.outbox import bucket_of, pack_headers
from jobyard_common.messaging.publisher import OutRecord, key_bytes
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import col, select

from jobyard_gateway.store.models import ApiKeyRow, OutboxRow, TenantRow

FIND = """
SELECT k.tenant_id, k.role, k.scopes, k.hash, k.expires_at, k.revoked_at, t.disabled_at
FROM api_key k JOIN tenant t ON t.id = k.tenant_id WHERE k.id = $1
"""

ADD_TENANT = "INSERT INTO tenant (id, name, created_at) VALUES ($1, $1, now()) ON CONFLICT (id) DO NOTHING"
ADD_KEY = """
INSERT INTO api_key (id, tenant_id, name, role, scopes, hash, created_at, created_by)
VALUES ($1, $2, 'minted at setup', $3, '{}', $4, now(), 'system:setup')
"""


class StoredKey(NamedTuple):
    tenant: str
    role: str
    scopes: list[str]
    hash: bytes
    expires_at: datetime | None
    dead: bool


async def find(pool: Pool, key_id: str, *, timeout_s: float) -> StoredKey | None:
    row = await within(pool, lambda connection: connection.fetchrow(FIND, key_id), timeout_s=timeout_s)
    if row is None:
        return None
    dead = row["revoked_at"] is not None or row["disabled_at"] is not None
    return StoredKey(row["tenant_id"], row["role"], list(row["scopes"]), row["hash"], row["expires_at"], dead)


async def bootstrap(connection: Connection, *, tenant: str, key_id: str, role: str, digest: bytes) -> None:
    """A key of a tenant that is made if it is missing."""
    async with connection.transaction():
        await connection.execute(ADD_TENANT, tenant)
        await connection.execute(ADD_KEY, key_id, tenant, role, digest)


class Administration:
    """Tenants and keys; every change and its audit entry are one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def tenant(self, tenant_id: str) -> TenantRow | None:
        async with AsyncSession(self._engine) as session:
            return await session.get(TenantRow, tenant_id)

    async def tenants(self) -> Sequence[TenantRow]:
        async with AsyncSession(self._engine) as session:
            found = await session.execute(select(TenantRow).order_by(col(TenantRow.created_at).desc()).limit(1000))
            return found.scalars().all()

    async def keys(self, tenant_id: str) -> Sequence[ApiKeyRow]:
        query = select(ApiKeyRow).where(col(ApiKeyRow.tenant_id) == tenant_id, col(ApiKeyRow.revoked_at).is_(None))
        async with AsyncSession(self._engine) as session:
            found = await session.execute(query.order_by(col(ApiKeyRow.created_at).desc()).limit(1000))
            return found.scalars().all()

    async def add(self, row: TenantRow | ApiKeyRow, *, audit: OutRecord) -> None:
        async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
            session.add(_outbox(audit))

    async def revoke(self, tenant_id: str, key_id: str, *, now: datetime, audit: OutRecord) -> bool:
        """False if the tenant has no such live key."""
        async with AsyncSession(self._engine) as session, session.begin():
            row = await session.get(ApiKeyRow, key_id, with_for_update=True)
            if row is None or row.tenant_id != tenant_id or row.revoked_at is not None:
                return False
            row.revoked_at = now
            session.add(_outbox(audit))
            return True


def _outbox(record: OutRecord) -> OutboxRow:
    key = key_bytes(record.key)
    return OutboxRow(
        bucket=bucket_of(key), topic=record.topic, key=key, value=record.value, headers=pack_headers(record.headers)
    )
