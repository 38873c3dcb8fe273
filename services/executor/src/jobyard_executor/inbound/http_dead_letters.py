"""Dead jobs by HTTP, for the gateway."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.operations import LetterState
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.snapshot import moment
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.steer_letters import DiscardBody, ReplayBody, discard_letter, replay_letter
from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http_parts import body_of, get, post
from jobyard_executor.store import dead_letters as store
from jobyard_executor.store import reading
from jobyard_executor.store.dead_letters import Handled


class DeadLetterApi:
    def __init__(self, engine: Engine, pool: asyncpg.Pool, barrier: Barrier) -> None:
        self._engine = engine
        self._pool = pool
        self._barrier = barrier

    def routes(self) -> Sequence[Route]:
        one = "/dead-letters/{job_id}"
        return [
            get("/dead-letters", self.list),
            get(one, self.get),
            post(f"{one}/replay", self.replay),
            post(f"{one}/discard", self.discard),
        ]

    async def list(self, request: Request) -> Response:
        query, tenant = request.query_params, caller(request).tenant
        state, limit, after = _state(query), shapes.limit_of(query), shapes.cursor_of(query)
        filters = shapes.filters_of(QueryParams([pair for pair in query.multi_items() if pair[0] != "state"]))
        filters.letters = store.labels(state)
        await self._barrier.passed(request)
        async with self._pool.acquire() as connection:
            page, following = await reading.page(connection, tenant, filters, after=after, limit=limit)
            done = await store.handled(connection, tenant, [shown.job.job_id for shown in page])
        return shapes.answer(
            {
                "data": [letter(shown, done.get(shown.job.job_id)) for shown in page],
                "next_cursor": shapes.cursor_text(following),
                "has_more": following is not None,
            }
        )

    async def get(self, request: Request) -> Response:
        return shapes.answer(await self._letter(request))

    async def replay(self, request: Request) -> Response:
        body, who = await body_of(request, ReplayBody), caller(request)
        await self._letter(request)
        async with self._pool.acquire() as connection, connection.transaction():
            await replay_letter(self._engine, connection, request.path_params["job_id"], body, caller=who)
        self._engine.wake_claim()
        self._engine.wake_relay()
        return shapes.answer(await self._letter(request), status=202)

    async def discard(self, request: Request) -> Response:
        body, who = await body_of(request, DiscardBody), caller(request)
        await self._letter(request)
        async with self._pool.acquire() as connection, connection.transaction():
            await discard_letter(self._engine, connection, request.path_params["job_id"], body, caller=who)
        self._engine.wake_relay()
        return shapes.answer(await self._letter(request))

    async def _letter(self, request: Request) -> dict[str, object]:
        """Raises Problem: not_found, also for a job that is not dead."""
        job_id, tenant = request.path_params["job_id"], caller(request).tenant
        if not is_id("job", job_id):
            raise Problem("not_found")
        shown = await reading.one(self._pool, tenant, job_id)
        if shown is None or not shown.job.dead:
            raise Problem("not_found")
        return letter(shown, (await store.handled(self._pool, tenant, [job_id])).get(job_id))


def letter(shown: reading.Shown, done: Handled | None) -> dict[str, object]:
    handled: dict[str, object] | None = None
    if done is not None:
        handled = {
            "action": done.action,
            "new_job_id": done.new_job_id,
            "note": done.note,
            "by": msgspec.Raw(done.actor.encode()),
            "at": moment(done.at),
        }
    state = done.action if done is not None else LetterState.OPEN
    return {"id": shown.job.job_id, "state": state, "handled": handled, "job": shapes.job_body(shown)}


def _state(query: QueryParams) -> LetterState | None:
    """`open` unless asked otherwise; None for all."""
    text = query.get("state", LetterState.OPEN.value)
    if text == "all":
        return None
    try:
        return LetterState(text)
    except ValueError:
        raise Problem("validation_failed", errors=[FieldError("state", "open, replayed, discarded or all.")]) from None
