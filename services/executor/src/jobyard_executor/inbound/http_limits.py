"""Limits, for our own services: put, shown with what holds them, taken away."""

from __future__ import annotations

import asyncpg
from jobyard_common.http.internal import Caller, caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.limits import MAX_PER_TENANT, Kind, Limit, LimitKey, fault, limit_key, public_key
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.handlers.change_limit import TooManyLimits, UnknownLimit, put_limit, remove_limit
from jobyard_executor.handlers.change_queue import Stale
from jobyard_executor.handlers.context import Engine
from jobyard_executor.inbound.http_parts import body_of, delete, get, put
from jobyard_executor.inbound.http_queues import changed, if_match
from jobyard_executor.inbound.http_shapes import answer, limit_of
from jobyard_executor.store import claiming, limits
from jobyard_executor.store.limits import LimitRow

MOST_HOLDERS = 100


class LimitApi:
    """A tenant sees its own keys and what holds for everybody; `scope=all` shows every tenant's limit."""

    def __init__(self, engine: Engine, pool: asyncpg.Pool) -> None:
        self._engine = engine
        self._pool = pool

    def routes(self) -> list[Route]:
        return [
            get("/limits", self.list),
            get("/limits/{key}", self.show),
            put("/limits/{key}", self.put),
            delete("/limits/{key}", self.delete),
        ]

    async def list(self, request: Request) -> Response:
        query, tenant = request.query_params, caller(request).tenant
        size = limit_of(query)
        after = query.get("cursor", "")
        everybody = query.get("scope") == "all"
        rows = await limits.page(self._pool, tenant, after=after, all_tenants=everybody, limit=size + 1)
        more, rows = len(rows) > size, rows[:size]
        data = [await self._body(row, tenant=tenant) for row in rows]
        return answer({"data": data, "next_cursor": rows[-1].key if more else None, "has_more": more})

    async def show(self, request: Request) -> Response:
        key, who = _key(request), caller(request)
        row = await limits.get(self._pool, key.stored)
        if row is None or (key.kind is Kind.TENANT and key.name != who.tenant and not _sees_all(request)):
            raise Problem("not_found")
        return await self._answer(row, key, who)

    async def put(self, request: Request) -> Response:
        key, who = _key(request), caller(request)
        limit = await body_of(request, Limit)
        if found := fault(key, limit):
            raise Problem("validation_failed", errors=[FieldError(*found)])
        try:
            row, new = await put_limit(self._engine, self._pool, who, key, limit=limit, tag=if_match(request))
        except Stale as stale:
            raise changed(str(stale)) from None
        except TooManyLimits:
            raise Problem("conflict", f"A tenant has at most {MAX_PER_TENANT:,} limits; take some away.") from None
        return await self._answer(row, key, who, status=201 if new else 200)

    async def delete(self, request: Request) -> Response:
        try:
            await remove_limit(self._engine, self._pool, caller(request), _key(request), tag=if_match(request))
        except UnknownLimit:
            raise Problem("not_found") from None
        except Stale as stale:
            raise changed(str(stale)) from None
        return Response(status_code=204)

    async def _answer(self, row: LimitRow, key: LimitKey, who: Caller, *, status: int = 200) -> Response:
        body = await self._body(row, tenant=who.tenant)
        held = await limits.holders(self._pool, who.tenant, kind=key.kind.value, name=key.name, limit=MOST_HOLDERS)
        body["holders"] = [
            {
                "job_id": one["job_id"],
                "tool": one["tool"],
                "queue": one["queue"],
                "attempt": one["attempt"],
                "started_at": moment(one["started_at"]),
            }
            for one in held
        ]
        found = answer(body, headers={"ETag": f'"{row.version}"'})
        found.status_code = status
        return found

    async def _body(self, row: LimitRow, *, tenant: str) -> dict[str, object]:
        """Room now, with the jobs of everybody counted."""
        now = await claiming.room_now(self._pool, [row.key])
        state = now[0] if now else None
        return {
            "key": public_key(row.key),
            "concurrency": row.n,
            "rate": row.rate,
            "weight": row.weight,
            "declared_by": "tool" if row.declared else "default" if row.auto else "operator",
            "running": state.used if state else 0,
            "starts_left": state.starts if state else None,
            "next_start_in_s": round(state.wait_s, 3) if state and state.wait_s is not None else None,
            "changed_at": moment(row.changed_at),
        }


def _sees_all(request: Request) -> bool:
    return request.query_params.get("scope") == "all"


def _key(request: Request) -> LimitKey:
    """The key of the path; `~1` stands for a slash, `~0` for a tilde."""
    text = request.path_params["key"].replace("~1", "/").replace("~0", "~")
    key = limit_key(text, tenant=caller(request).tenant)
    if key is None:
        message = "A key is queue:…, tool:…, tenant:…, key:… or fairness:…, with a name of 1 to 256 characters."
        raise Problem("validation_failed", message, errors=[FieldError("key", message)])
    return key
