"""Queues and routes, for our own services: the gateway knows who may call what."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
import msgspec
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.limits import QueueChange
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.domain.work_queues import NAME
from jobyard_executor.handlers.change_queue import Seen, Stale, UnknownQueue, change_queue, see_queue
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.count_waiting import Counts, WaitingCounts
from jobyard_executor.handlers.route_tool import UnknownRoute, route_tool
from jobyard_executor.inbound.http_parts import body_of, delete, get, patch, post, put
from jobyard_executor.inbound.http_shapes import answer
from jobyard_executor.store import limits, queues


class NewRoute(msgspec.Struct, forbid_unknown_fields=True):
    queue: str


class QueueApi:
    """Depths are a moment old (`handlers/count_waiting.py`); everything else is as it is."""

    def __init__(self, engine: Engine, pool: asyncpg.Pool, counts: WaitingCounts) -> None:
        self._engine = engine
        self._pool = pool
        self._counts = counts

    def routes(self) -> list[Route]:
        return [
            get("/queues", self.list),
            get("/queues/{name}", self.show),
            patch("/queues/{name}", self.change),
            post("/queues/{name}/pause", self._order("pause", QueueChange(paused=True))),
            post("/queues/{name}/resume", self._order("resume", QueueChange(paused=False, draining=False))),
            post("/queues/{name}/drain", self._order("drain", QueueChange(draining=True))),
            get("/queue-rules", self.rules),
            get("/routes", self.list_routes),
            put("/routes/{tool}", self.put_route),
            delete("/routes/{tool}", self.delete_route),
        ]

    async def list(self, request: Request) -> Response:
        counts, tenant = await self._counts.get(), caller(request).tenant
        found = await queues.all_queues(self._pool)
        under = await limits.of_queues(self._pool)
        unknown = {name: queues.QueueRow(name) for name in counts.depth if name not in found and NAME.fullmatch(name)}
        data = [
            queue_body(Seen(row, under.get(f"queue:{name}")), counts, tenant=tenant)
            for name, row in sorted((found | unknown).items())
        ]
        return answer({"data": data, "next_cursor": None, "has_more": False})

    async def show(self, request: Request) -> Response:
        counts = await self._counts.get()
        try:
            async with self._pool.acquire() as connection:
                seen = await see_queue(connection, request.path_params["name"])
        except UnknownQueue:
            raise Problem("not_found") from None
        return _answer(seen, counts, tenant=caller(request).tenant)

    async def change(self, request: Request) -> Response:
        change = await body_of(request, QueueChange)
        return await self._apply(request, change, "change")

    def _order(self, verb: str, change: QueueChange):  # type: ignore[no-untyped-def]
        async def order(request: Request) -> Response:
            return await self._apply(request, change, verb)

        return order

    async def _apply(self, request: Request, change: QueueChange, verb: str) -> Response:
        who, name = caller(request), request.path_params["name"]
        try:
            seen = await change_queue(
                self._engine, self._pool, who, name, change=change, tag=if_match(request), verb=verb
            )
        except UnknownQueue:
            raise Problem("not_found") from None
        except Stale as stale:
            raise changed(str(stale)) from None
        return _answer(seen, await self._counts.get(), tenant=who.tenant)

    async def rules(self, _request: Request) -> Response:
        """What a gateway keeps in memory to place a submit: small, and cheap to ask every second."""
        found = await queues.all_queues(self._pool)
        routes = await queues.routes(self._pool)
        return answer(
            {
                "queues": {
                    name: {"paused": row.paused, "draining": row.draining, "max_waiting": row.max_waiting}
                    for name, row in found.items()
                },
                "routes": {route.tool: route.queue for route in routes},
            }
        )

    async def list_routes(self, _request: Request) -> Response:
        data = [route_body(route) for route in await queues.routes(self._pool)]
        return answer({"data": data, "next_cursor": None, "has_more": False})

    async def put_route(self, request: Request) -> Response:
        body = await body_of(request, NewRoute)
        tool = request.path_params["tool"]
        try:
            found = await route_tool(self._engine, self._pool, caller(request), tool, queue=body.queue)
        except UnknownQueue:
            raise Problem("validation_failed", errors=[FieldError("/queue", "No such queue.")]) from None
        assert found is not None
        return answer(route_body(found))

    async def delete_route(self, request: Request) -> Response:
        try:
            await route_tool(self._engine, self._pool, caller(request), request.path_params["tool"], queue=None)
        except UnknownRoute:
            raise Problem("not_found") from None
        return Response(status_code=204)


def if_match(request: Request) -> str | None:
    """The tag in If-Match without its quotes, None if any version will do."""
    text = request.headers.get("if-match", "*").strip()
    return None if text == "*" else text.removeprefix("W/").strip('"')


def changed(tag: str) -> Problem:
    return Problem("precondition_failed", "It was changed since you read it.", headers={"ETag": f'"{tag}"'})


def _answer(seen: Seen, counts: Counts, *, tenant: str) -> Response:
    return answer(queue_body(seen, counts, tenant=tenant), headers={"ETag": f'"{seen.tag}"'})


def queue_body(seen: Seen, counts: Counts, *, tenant: str) -> dict[str, object]:
    row, limit = seen.row, seen.limit
    oldest = counts.oldest.get(row.name)
    came, went = counts.flows.get(row.name, (0.0, 0.0))
    age = None if oldest is None else round(max(0.0, (datetime.now(UTC) - oldest).total_seconds()), 3)
    return {
        "name": row.name,
        "paused": row.paused,
        "draining": row.draining,
        "weight": row.weight,
        "depth": counts.of(row.name),
        "depth_capped": counts.capped,
        "waiting_of_tenant": counts.tenants.get((row.name, tenant), 0),
        "oldest_age_s": age,
        "limits": {
            "concurrency": limit.n if limit else None,
            "rate": limit.rate if limit else None,
            "max_waiting": row.max_waiting,
        },
        "rates": {"in_per_min": came, "out_per_min": went},
        "changed_at": moment(row.changed_at) if row.changed_at else None,
    }


def route_body(route: queues.Route) -> dict[str, object]:
    return {"tool": route.tool, "queue": route.queue, "changed_at": moment(route.changed_at)}
