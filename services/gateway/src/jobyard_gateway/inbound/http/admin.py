"""Tenants and API keys."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import Request
from jobyard_common.contracts.wire import rfc3339
from jobyard_common.http.context import current
from jobyard_common.http.problems import Problem
from jobyard_common.telemetry.logging import get_logger
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.responses import Response

from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.administer import Administrator, NewApiKey, NewTenant
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.routing import Endpoint, Handler, json_answer
from jobyard_gateway.store.models import ApiKeyRow, TenantRow

log = get_logger("administration")
TAG = "administration"


class AdminRoutes:
    """`on_revoked` is told the id of a key that must no longer be let in from memory."""

    def __init__(self, administrator: Administrator, *, on_revoked: Callable[[str], None]) -> None:
        self._administrator = administrator
        self._on_revoked = on_revoked

    def endpoints(self) -> list[Endpoint]:
        keys, tenants, system = Permission.KEYS_ADMIN, Permission.TENANTS_ADMIN, Permission.SYSTEM_READ
        return [
            Endpoint(
                "GET",
                "/v1/tenants",
                system,
                _guard(self.list_tenants),
                "List tenants",
                TAG,
                operation(ok=(200, "TenantPage")),
            ),
            Endpoint(
                "POST",
                "/v1/tenants",
                tenants,
                _guard(self.add_tenant),
                "Make a tenant",
                TAG,
                operation(ok=(201, "Tenant"), body="NewTenant"),
            ),
            Endpoint(
                "GET",
                "/v1/api-keys",
                keys,
                _guard(self.list_keys),
                "List API keys",
                TAG,
                operation(ok=(200, "ApiKeyPage")),
            ),
            Endpoint(
                "POST",
                "/v1/api-keys",
                keys,
                _guard(self.add_key),
                "Make an API key",
                TAG,
                operation(ok=(201, "NewApiKeyAnswer"), body="NewApiKey"),
            ),
            Endpoint(
                "DELETE",
                "/v1/api-keys/{key_id}",
                keys,
                _guard(self.revoke_key),
                "Revoke an API key",
                TAG,
                operation(ok=(204, None)),
            ),
        ]

    async def list_tenants(self, request: Request, principal: Principal) -> Response:
        return _page([_tenant(row) for row in await self._administrator.tenants(principal)])

    async def add_tenant(self, request: Request, principal: Principal) -> Response:
        asked = await json_body(request, NewTenant)
        assert asked is not None
        row = await self._administrator.add_tenant(asked, principal, current())
        return json_answer(msgspec.json.encode(_tenant(row)), status=201)

    async def list_keys(self, request: Request, principal: Principal) -> Response:
        return _page([_key(row) for row in await self._administrator.keys(principal)])

    async def add_key(self, request: Request, principal: Principal) -> Response:
        asked = await json_body(request, NewApiKey)
        assert asked is not None
        row, text = await self._administrator.add_key(asked, principal, current())
        return json_answer(
            msgspec.json.encode({**_key(row), "key": text}), status=201, headers={"Cache-Control": "no-store"}
        )

    async def revoke_key(self, request: Request, principal: Principal) -> Response:
        key_id = request.path_params["key_id"]
        await self._administrator.revoke_key(key_id, principal, current())
        self._on_revoked(key_id)
        return Response(status_code=204)


def _guard(handler: Handler) -> Handler:
    async def answer(request: Request, principal: Principal) -> Response:
        try:
            return await handler(request, principal)
        except (OperationalError, InterfaceError, OSError, TimeoutError) as error:
            log.warning("administration.database_away", error=str(error)[:300])
            raise Problem("unavailable", "The administration's database can't be reached at the moment.") from None

    return answer


def _page(rows: list[dict[str, object]]) -> Response:
    return json_answer(msgspec.json.encode({"data": rows, "next_cursor": None, "has_more": False}))


def _tenant(row: TenantRow) -> dict[str, object]:
    return {"id": row.id, "name": row.name, "created_at": rfc3339(row.created_at)}


def _key(row: ApiKeyRow) -> dict[str, object]:
    return {
        "id": row.id,
        "tenant_id": row.tenant_id,
        "name": row.name,
        "role": row.role,
        "scopes": row.scopes,
        "created_at": rfc3339(row.created_at),
        "created_by": row.created_by,
        "expires_at": rfc3339(row.expires_at) if row.expires_at else None,
    }
