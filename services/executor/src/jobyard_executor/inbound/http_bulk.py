"""Bulk operations by HTTP, for the gateway."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec
from jobyard_common.contracts.operations import BulkState
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.bulk import Bulk
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.make_bulk import BulkBody, abort_bulk, make_bulk, try_bulk
from jobyard_executor.handlers.run_bulk import options_of
from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http_parts import body_of, get, post
from jobyard_executor.store import bulk as store


class BulkApi:
    """An operation by filter counts what its caller has submitted before, so it waits behind the barrier."""

    def __init__(self, engine: Engine, pool: asyncpg.Pool, barrier: Barrier) -> None:
        self._engine = engine
        self._pool = pool
        self._barrier = barrier

    def routes(self) -> Sequence[Route]:
        one = "/bulk-operations/{bulk_id}"
        return [
            get("/bulk-operations", self.list),
            post("/bulk-operations", self.make),
            get(one, self.get),
            post(f"{one}/abort", self.abort),
        ]

    async def make(self, request: Request) -> Response:
        body, who = await body_of(request, BulkBody), caller(request)
        if not await self._barrier.passed(request):
            raise Problem("unavailable", "Ingest has not come as far yet; what you submitted last would be left out.")
        async with self._pool.acquire() as connection, connection.transaction():
            if body.dry_run:
                found = await try_bulk(self._engine, connection, body, shapes.filters_of_pairs, caller=who)
                return shapes.answer(
                    {
                        "dry_run": True,
                        "matched": found.matched,
                        "matched_capped": found.matched_capped,
                        "sample": [shapes.job_body(shown) for shown in found.sample],
                    }
                )
            key = request.headers.get("idempotency-key")
            bulk, new = await make_bulk(self._engine, connection, body, shapes.filters_of_pairs, caller=who, key=key)
        self._engine.wake_relay()
        headers = {"Location": f"/v1/bulk-operations/{bulk.id}"}
        if not new:
            headers["Idempotency-Replayed"] = "true"
        return shapes.answer(_shape(bulk), headers=headers, status=202)

    async def list(self, request: Request) -> Response:
        query, limit = request.query_params, shapes.limit_of(request.query_params)
        state = query.get("state")
        if state is not None and state not in set(BulkState):
            raise Problem("validation_failed", errors=[FieldError("state", "running, done or aborted.")])
        found = await store.page(
            self._pool, caller(request).tenant, after=shapes.cursor_of(query), state=state, limit=limit + 1
        )
        page, more = found[:limit], len(found) > limit
        cursor = shapes.cursor_text((page[-1].created_at, page[-1].id)) if more else None
        return shapes.answer({"data": [_shape(row) for row in page], "next_cursor": cursor, "has_more": more})

    async def get(self, request: Request) -> Response:
        bulk = await store.get(self._pool, caller(request).tenant, request.path_params["bulk_id"])
        if bulk is None:
            raise Problem("not_found")
        return shapes.answer(_shape(bulk))

    async def abort(self, request: Request) -> Response:
        async with self._pool.acquire() as connection, connection.transaction():
            bulk = await abort_bulk(self._engine, connection, request.path_params["bulk_id"], caller=caller(request))
        self._engine.wake_relay()
        return shapes.answer(_shape(bulk))


def _shape(bulk: Bulk) -> dict[str, object]:
    options = options_of(bulk)
    return {
        "id": bulk.id,
        "action": bulk.action,
        "state": bulk.state,
        "filter": shapes.raw(bulk.filter),
        "ids": None if bulk.ids is None else len(bulk.ids),
        "dead": options.dead,
        "waits_for": options.waits_for if bulk.state is BulkState.RUNNING else None,
        "run_at": None if options.run_at is None else moment(options.run_at),
        "rate_per_s": bulk.rate_per_s,
        "note": bulk.note,
        "matched": bulk.matched,
        "matched_capped": bulk.matched_capped,
        "seen": bulk.seen,
        "done": bulk.applied,
        "refused": msgspec.Raw(bulk.refused.encode()),
        "refused_sample": msgspec.Raw(bulk.sample.encode()),
        "created_at": moment(bulk.created_at),
        "created_by": msgspec.Raw(bulk.actor.encode()),
        "finished_at": None if bulk.finished_at is None else moment(bulk.finished_at),
    }
