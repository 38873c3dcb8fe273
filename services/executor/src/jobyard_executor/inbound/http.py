"""The read API of jobs, for our own services. Everything that changes a job comes by Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import TERMINAL, JobState
from jobyard_common.http import problems
from jobyard_common.http.context import App, RequestContextMiddleware
from jobyard_common.http.health import health_routes
from jobyard_common.http.internal import ServiceAuth, caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.tracing import Tracer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.snapshot import incarnation
from jobyard_executor.handlers.explain import explain
from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http_parts import Part, get, number, post
from jobyard_executor.store import commands, jobs, reading

MIN_VERSION_WAIT_S = 2.0
POLL_S = 0.03
MAX_IDS = 1000


class _Ids(msgspec.Struct):
    ids: list[str]


class ReadApi:
    """Endpoints over the store. Another tenant's job does not exist."""

    def __init__(self, pool: asyncpg.Pool, barrier: Barrier, *, by_key: asyncpg.Pool | None = None) -> None:
        self._pool = pool
        self._by_key = by_key or pool
        self._barrier = barrier

    async def job(self, request: Request) -> Response:
        minimum = number(request, "min_version")
        shown = await self._shown(request)
        deadline = time.monotonic() + MIN_VERSION_WAIT_S
        while minimum is not None and shown.job.event_no < minimum and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
            shown = await self._shown(request)
        headers = {"ETag": f'"{incarnation(shown.job, epoch=shown.epoch)}.{shown.job.event_no}"'}
        if minimum is not None and shown.job.event_no < minimum:
            headers["X-Jobyard-Stale"] = "1"
        return shapes.answer(shapes.job_body(shown), headers=headers)

    async def result(self, request: Request) -> Response:
        shown = await self._shown(request)
        if shown.job.state not in TERMINAL:
            raise Problem("job_not_finished", f"The job is {shown.job.state.value}.")
        return shapes.answer(shapes.result_body(shown, await reading.result(self._by_key, shown.job.job_id)))

    async def attempts(self, request: Request) -> Response:
        shown = await self._shown(request)
        rows = await self._by_key.fetch(reading.ATTEMPTS, shown.job.job_id)
        data = shapes.attempt_rows(shown, rows)
        return shapes.answer({"data": data, "next_cursor": None, "has_more": False})

    async def lifecycle(self, request: Request) -> Response:
        shown = await self._shown(request)
        limit = shapes.limit_of(request.query_params, default=shapes.MAX_LIMIT)
        after = number(request, "cursor") or 0
        rows = await self._by_key.fetch(reading.LIFECYCLE, shown.job.job_id, after, limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        cursor = str(rows[-1]["event_no"]) if more else None
        return shapes.answer(
            {"data": [shapes.lifecycle_row(row) for row in rows], "next_cursor": cursor, "has_more": more}
        )

    async def explain(self, request: Request) -> Response:
        shown = await self._shown(request)
        return shapes.answer(await explain(self._pool, shown.job, now=datetime.now(UTC)))

    async def list(self, request: Request) -> Response:
        query, tenant = request.query_params, caller(request).tenant
        filters = shapes.filters_of(query)
        limit, after, count = shapes.limit_of(query), shapes.cursor_of(query), query.get("count")
        if count not in (None, "exact", "estimate"):
            raise Problem("validation_failed", errors=[FieldError("count", "is exact or estimate")])
        await self._barrier.passed(request)
        async with self._pool.acquire() as connection:
            page, following = await reading.page(connection, tenant, filters, after=after, limit=limit)
            body: dict[str, object] = {
                "data": [shapes.job_body(shown) for shown in page],
                "next_cursor": shapes.cursor_text(following),
                "has_more": following is not None,
            }
            if count is not None:
                body["count"], body["count_capped"] = await reading.count(connection, tenant, filters)
        return shapes.answer(body)

    async def counts(self, request: Request) -> Response:
        filters, tenant = shapes.filters_of(request.query_params), caller(request).tenant
        await self._barrier.passed(request)
        async with self._pool.acquire() as connection:
            found, capped = await reading.counts(connection, tenant, filters)
        counts = {state.value: found.get(state.value, 0) for state in JobState}
        return shapes.answer({"counts": counts, "capped": capped})

    async def command(self, request: Request) -> Response:
        await self._barrier.passed(request)
        row = await self._by_key.fetchrow(commands.OUTCOME, request.path_params["command_id"], caller(request).tenant)
        if row is None:
            raise Problem("not_found")
        return shapes.answer({"command_id": row[0], "outcome": row[1], "job_id": row[2]})

    async def keyed(self, request: Request) -> Response:
        await self._barrier.passed(request)
        row = await self._by_key.fetchrow(reading.KEYED, request.path_params["job_id"], caller(request).tenant)
        if row is None:
            raise Problem("not_found")
        return shapes.answer({"job_id": row[0], "body_hash": row[1]})

    async def exists(self, request: Request) -> Response:
        try:
            ids = msgspec.json.decode(await request.body(), type=_Ids).ids
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem("malformed_json", str(error)) from None
        if len(ids) > MAX_IDS:
            raise Problem("validation_failed", errors=[FieldError("/ids", f"may have at most {MAX_IDS} ids")])
        passed = await self._barrier.passed(request)
        wanted = {job_id for job_id in ids if is_id("job", job_id)}
        rows = await self._pool.fetch(jobs.EXIST, list(wanted), caller(request).tenant)
        if not passed and len(rows) < len(wanted):
            raise Problem("unavailable", "Ingest has not come as far yet; nobody can tell.")
        return shapes.answer({"known": [row[0] for row in rows]})

    async def committed(self, request: Request) -> Response:
        """Whether the files of an attempt belong to its job: true, false, or null while nobody can know."""
        path = request.path_params
        shown = await reading.one(self._by_key, caller(request).tenant, path["job_id"])
        if shown is None:
            return shapes.answer({"committed": False if await self._ever(request) else None})
        job = shown.job
        current = job.attempt == path["attempt"] and job.fence == path["fence"]
        if job.state in (JobState.RUNNING, JobState.CANCELLING) and current:
            return shapes.answer({"committed": None})
        return shapes.answer({"committed": current and job.state is JobState.SUCCEEDED})

    async def _ever(self, request: Request) -> bool:
        """A claim is committed before its attempt starts, so an unknown job was purged or never ran."""
        return is_id("job", request.path_params["job_id"])

    async def _shown(self, request: Request) -> reading.Shown:
        """The job of the path. 404 is said only behind the barrier; short of it, nobody can know."""
        job_id, tenant = request.path_params["job_id"], caller(request).tenant
        if not is_id("job", job_id):
            raise Problem("not_found")
        passed = await self._barrier.passed(request)
        found = await reading.one(self._by_key, tenant, job_id)
        if found is None:
            raise Problem("not_found" if passed else "unavailable")
        return found


def make_app(
    api: ReadApi | None, *, readiness: Readiness, tracer: Tracer, token: str, parts: Sequence[Part] = ()
) -> App:
    """`parts` are the resources beside jobs, each with routes of its own; without `api` there is health only."""
    routes = [
        *health_routes(readiness),
        *(_jobs(api) if api is not None else []),
        *(route for part in parts for route in part.routes()),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    problems.install(app)
    return RequestContextMiddleware(ServiceAuth(app, token=token), tracer=tracer, trust_inbound=True)


def _jobs(api: ReadApi) -> list[Route]:
    return [
        get("/jobs", api.list),
        get("/jobs/counts", api.counts),
        post("/jobs/exists", api.exists),
        get("/jobs/{job_id}", api.job),
        get("/jobs/{job_id}/result", api.result),
        get("/jobs/{job_id}/attempts", api.attempts),
        get("/jobs/{job_id}/events", api.lifecycle),
        get("/jobs/{job_id}/explain", api.explain),
        get("/commands/{command_id}", api.command),
        get("/keyed/{job_id}", api.keyed),
        get("/committed/{job_id}/{attempt:int}/{fence:int}", api.committed),
    ]
