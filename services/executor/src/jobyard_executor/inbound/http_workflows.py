"""Workflows and their runs by HTTP, for the gateway. What changes a run comes by Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.workflows import Graph
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.workflow import RunState, StepState
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.put_workflow import WorkflowBody, delete_workflow, put_workflow
from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http_parts import body_of, delete, get, number, post
from jobyard_executor.inbound.run_shapes import item_body, run_body, step_body, workflow_body
from jobyard_executor.store import run_views, workflows
from jobyard_executor.store.runs import Run

MAX_STEPS_SHOWN = 1000
_STEP_STATES = frozenset(StepState)
_RUN_STATES = frozenset(RunState)


class WorkflowApi:
    def __init__(self, engine: Engine, pool: asyncpg.Pool, barrier: Barrier) -> None:
        self._engine = engine
        self._pool = pool
        self._barrier = barrier

    def routes(self) -> Sequence[Route]:
        return [
            get("/workflows", self.list),
            post("/workflows", self.put),
            get("/workflows/{workflow}", self.get),
            delete("/workflows/{workflow}", self.delete),
            get("/workflow-runs", self.list_runs),
            get("/workflow-runs/{run_id}", self.run),
            get("/workflow-runs/{run_id}/steps/{step}", self.step),
        ]

    async def put(self, request: Request) -> Response:
        body, who = await body_of(request, WorkflowBody), caller(request)
        async with self._pool.acquire() as connection, connection.transaction():
            workflow, new = await put_workflow(self._engine, connection, body, caller=who)
        self._engine.wake_relay()
        headers = {"Location": f"/v1/workflows/{workflow.workflow_id}"}
        return shapes.answer(workflow_body(workflow, whole=True), headers=headers, status=201 if new else 200)

    async def list(self, request: Request) -> Response:
        query, tenant = request.query_params, caller(request).tenant
        limit, after = shapes.limit_of(query), shapes.cursor_of(query)
        found = await workflows.page(self._pool, tenant, name=_plain(query, "name"), after=after, limit=limit)
        page, more = found[:limit], len(found) > limit
        position = (page[-1].created_at, page[-1].workflow_id) if more else None
        return _page([workflow_body(row, whole=False) for row in page], shapes.cursor_text(position))

    async def get(self, request: Request) -> Response:
        found = await workflows.find(self._pool, caller(request).tenant, request.path_params["workflow"])
        if found is None:
            raise Problem("not_found")
        return shapes.answer(workflow_body(found, whole="brief" not in request.query_params))

    async def delete(self, request: Request) -> Response:
        async with self._pool.acquire() as connection, connection.transaction():
            who, workflow_id = caller(request), request.path_params["workflow"]
            await delete_workflow(self._engine, connection, workflow_id, caller=who)
        self._engine.wake_relay()
        return Response(status_code=204)

    async def list_runs(self, request: Request) -> Response:
        query, tenant = request.query_params, caller(request).tenant
        limit, after = shapes.limit_of(query), shapes.cursor_of(query)
        await self._barrier.passed(request)
        found = await run_views.page(
            self._pool,
            tenant,
            states=_states(query, _RUN_STATES),
            name=_plain(query, "name"),
            workflow_id=_plain(query, "workflow_id"),
            after=after,
            limit=limit + 1,
        )
        page, more = found[:limit], len(found) > limit
        position = (page[-1].created_at, page[-1].run_id) if more else None
        return _page([run_body(run) for run in page], shapes.cursor_text(position))

    async def run(self, request: Request) -> Response:
        query = request.query_params
        limit, after = _limit(request), number(request, "cursor")
        run, graph, given = await self._found(request)
        steps: list[dict[str, object]] = []
        more = False
        if graph is not None and run.steps:
            states = _states(query, _STEP_STATES) or None
            start = -1 if after is None else after
            rows = await self._pool.fetch(run_views.STEPS, run.run_id, start, states, limit + 1)
            more, rows = len(rows) > limit, rows[:limit]
            parsed = msgspec.json.decode(graph, type=Graph)
            steps = [step_body(row, parsed.steps[row["no"]]) for row in rows]
        cursor = str(rows[-1]["no"]) if more else None
        counts = await run_views.counts(self._pool, run.run_id)
        return shapes.answer(run_body(run, counts=counts, given=given, steps=steps, cursor=cursor))

    async def step(self, request: Request) -> Response:
        """One step with its items."""
        limit, after = _limit(request), number(request, "cursor")
        states = _states(request.query_params, _STEP_STATES) or None
        run, graph, _ = await self._found(request)
        steps = msgspec.json.decode(graph, type=Graph).steps if graph is not None and run.steps else ()
        no = next((n for n, one in enumerate(steps) if one.name == request.path_params["step"]), None)
        if no is None:
            raise Problem("not_found")
        row = await self._pool.fetchrow(run_views.STEPS, run.run_id, no - 1, None, 1)
        start = -1 if after is None else after
        rows: list[Any] = await self._pool.fetch(run_views.ITEMS, run.run_id, no, start, states, limit + 1)
        more, rows = len(rows) > limit, rows[:limit]
        body = step_body(row, steps[no]) | {
            "data": [item_body(item) for item in rows],
            "next_cursor": str(rows[-1]["n"]) if more else None,
            "has_more": more,
        }
        return shapes.answer(body)

    async def _found(self, request: Request) -> tuple[Run, str | None, str]:
        """The run of the path; short of the barrier nobody can know that there is none."""
        run_id = request.path_params["run_id"]
        if not is_id("wfr", run_id):
            raise Problem("not_found")
        passed = await self._barrier.passed(request)
        found = await run_views.one(self._pool, caller(request).tenant, run_id)
        if found is None:
            raise Problem("not_found" if passed else "unavailable")
        return found


def _page(data: list[dict[str, object]], cursor: str | None) -> Response:
    return shapes.answer({"data": data, "next_cursor": cursor, "has_more": cursor is not None})


def _plain(query: QueryParams, name: str) -> str | None:
    text = query.get(name)
    if text is not None and ("\0" in text or len(text) > 256):
        raise Problem("validation_failed", errors=[FieldError(name, "is no such name")])
    return text


def _limit(request: Request) -> int:
    limit = number(request, "limit")
    if limit is not None and not 1 <= limit <= MAX_STEPS_SHOWN:
        raise Problem("validation_failed", errors=[FieldError("limit", f"must be from 1 to {MAX_STEPS_SHOWN}")])
    return limit or 200


def _states(query: QueryParams, known: frozenset[Any]) -> list[str]:
    states = query.getlist("state")
    if wrong := [state for state in states if state not in known]:
        raise Problem("validation_failed", errors=[FieldError("state", f"{wrong[0][:64]!r} is no state here")])
    return states
