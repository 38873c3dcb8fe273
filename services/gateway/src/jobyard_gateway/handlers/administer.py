"""Tenants and API keys: made, listed, revoked; each change is in the audit."""

from __future__ import annotations

from typing import Annotated

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.http.context import RequestContext
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.audit import audit_record
from jobyard_common.messaging.publisher import OutRecord
from jobyard_common.runtime.clock import Clock
from msgspec import Meta

from jobyard_gateway.domain import api_keys
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import GRANTS, Permission, Principal, Role
from jobyard_gateway.domain.submission import Moment
from jobyard_gateway.handlers.submit_job import SOURCE, refused
from jobyard_gateway.outbound.executor import actor_of
from jobyard_gateway.store.keys import Administration
from jobyard_gateway.store.models import ApiKeyRow, TenantRow

DEFAULT_TENANT = "tnt_default"
Label = Annotated[str, Meta(min_length=1, max_length=128)]


class NewTenant(msgspec.Struct, forbid_unknown_fields=True):
    name: Label


class NewApiKey(msgspec.Struct, forbid_unknown_fields=True):
    """`tenant_id` defaults to the caller's; no `scopes` means all that the role may do."""

    name: Label
    tenant_id: Label | None = None
    role: Role = Role.MEMBER
    scopes: Annotated[list[Permission], Meta(max_length=20)] = []
    expires_at: Moment | None = None


class Administrator:
    def __init__(self, store: Administration, *, pepper: bytes, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper
        self._clock = clock

    async def add_tenant(self, asked: NewTenant, principal: Principal, context: RequestContext) -> TenantRow:
        row = TenantRow(id=new_id("tnt"), name=asked.name, created_at=self._clock.now())
        await self._store.add(row, audit=self._audit("tenant.create", row.id, principal, context, {"name": row.name}))
        return row

    async def tenants(self, principal: Principal) -> list[TenantRow]:
        """All of them for an operator, else the caller's own."""
        if Permission.TENANTS_ADMIN in principal.permissions:
            return list(await self._store.tenants())
        own = await self._store.tenant(principal.tenant)
        return [own] if own else []

    async def add_key(self, asked: NewApiKey, principal: Principal, context: RequestContext) -> tuple[ApiKeyRow, str]:
        """The key's row and its text, which nobody can see again."""
        tenant = asked.tenant_id or principal.tenant
        own = tenant == principal.tenant
        if not own and Permission.TENANTS_ADMIN not in principal.permissions:
            raise refused([Fault("/tenant_id", "No such tenant.")])
        if await self._store.tenant(tenant) is None:
            raise refused([Fault("/tenant_id", "No such tenant.")])
        allowed = principal.permissions | (GRANTS[Role.ADMIN] if not own else frozenset())
        if not GRANTS[asked.role] <= allowed:
            raise Problem("forbidden", f"Your key can't give the role {asked.role}.")
        minted = api_keys.mint()
        row = ApiKeyRow(
            id=minted.id,
            tenant_id=tenant,
            name=asked.name,
            role=asked.role.value,
            scopes=[scope.value for scope in asked.scopes],
            hash=api_keys.digest(minted.text, pepper=self._pepper),
            created_at=self._clock.now(),
            created_by=principal.actor,
            expires_at=asked.expires_at,
        )
        detail: dict[str, object] = {"name": row.name, "role": row.role, "tenant_id": tenant}
        await self._store.add(row, audit=self._audit("api_key.create", row.id, principal, context, detail))
        return row, minted.text

    async def keys(self, principal: Principal) -> list[ApiKeyRow]:
        return list(await self._store.keys(principal.tenant))

    async def revoke_key(self, key_id: str, principal: Principal, context: RequestContext) -> None:
        audit = self._audit("api_key.revoke", key_id, principal, context, {})
        if not await self._store.revoke(principal.tenant, key_id, now=self._clock.now(), audit=audit):
            raise Problem("not_found")

    def _audit(
        self, action: str, target: str, principal: Principal, context: RequestContext, detail: dict[str, object]
    ) -> OutRecord:
        return audit_record(
            source=SOURCE,
            tenant=principal.tenant,
            actor=actor_of(principal),
            action=action,
            target=target,
            outcome="done",
            at=self._clock.now(),
            detail=detail,
            correlation_id=context.correlation_id,
            traceparent=context.trace.format(),
        )
