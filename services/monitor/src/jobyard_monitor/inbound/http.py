"""The read API, for services of ours only; the gateway is its public face."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.output import Stream
from jobyard_common.db.connection import Pool
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem, install, render
from jobyard_common.runtime.clock import Clock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from jobyard_monitor.domain.cursor import CursorInvalid
from jobyard_monitor.domain.severity import LEVELS, severity_of
from jobyard_monitor.handlers.compute_stats import Window, compute_stats
from jobyard_monitor.handlers.group_errors import group_errors
from jobyard_monitor.handlers.list_audit import list_audit
from jobyard_monitor.handlers.read_job_logs import read_job_logs, read_seen
from jobyard_monitor.handlers.read_timeline import read_timeline
from jobyard_monitor.handlers.search_logs import search_logs
from jobyard_monitor.handlers.show_system import Ask, show_system
from jobyard_monitor.inbound import views
from jobyard_monitor.inbound.queries import Query
from jobyard_monitor.store import audit
from jobyard_monitor.store.reading import DatabaseAway, TooSlow
from jobyard_monitor.store.service_logs import Filters

SEEN_HEADER = "X-Jobyard-Seen-Seq"
LINE_STREAMS = [stream.value for stream in Stream if stream is not Stream.PROGRESS]
MAX_LINES, MAX_ROWS = 1000, 200
DAY = timedelta(days=1)
LONGEST = 31 * DAY
NO_TENANT = ""
"""Logs and audit entries of the platform itself."""


class ReadApi:
    """`operators` are the tenants that also see what belongs to no tenant."""

    def __init__(self, pool: Pool, *, ask: Ask, clock: Clock, operators: Collection[str]) -> None:
        self._pool = pool
        self._ask = ask
        self._clock = clock
        self._operators = frozenset(operators)

    def app(self, *health: BaseRoute, reads: bool = True) -> Starlette:
        """`reads` False leaves only health: the process has another role."""
        routes: list[BaseRoute] = [*health, *(self._routes() if reads else ())]
        app = Starlette(routes=routes)
        install(app)
        app.add_exception_handler(CursorInvalid, _on_cursor)
        app.add_exception_handler(TooSlow, _on_slow)
        app.add_exception_handler(DatabaseAway, _on_away)
        return app

    def _routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/jobs/{job_id}/logs", self.job_logs),
            Route("/v1/jobs/{job_id}/timeline", self.job_timeline),
            Route("/v1/logs", self.logs),
            Route("/v1/logs/errors", self.log_errors),
            Route("/v1/stats", self.stats),
            Route("/v1/system", self.system),
            Route("/v1/audit", self.audit),
        ]

    async def job_logs(self, request: Request) -> Response:
        tenant, job_id, query = caller(request).tenant, _job_id(request), Query(request)
        limit = query.integer("limit", default=200, least=1, most=MAX_LINES)
        after_seq = query.integer("after_seq", default=0, least=0, most=2**63 - 1)
        page_cursor = query.text("cursor", most=512)
        streams = query.texts("stream", among=LINE_STREAMS)
        levels = query.texts("level", among=LEVELS)
        seen = query.choice("with", ["seen"])
        query.finish()
        headers = {SEEN_HEADER: str(await read_seen(tenant, self._pool, job_id=job_id))} if seen else None
        found = await read_job_logs(
            tenant,
            self._pool,
            job_id=job_id,
            after_seq=after_seq,
            page_cursor=page_cursor,
            streams=streams,
            levels=levels,
            limit=limit,
        )
        return _json(views.page(found, views.line), headers=headers)

    async def job_timeline(self, request: Request) -> Response:
        tenant, job_id = caller(request).tenant, _job_id(request)
        Query(request).finish()
        return _json(views.timeline(await read_timeline(tenant, self._pool, job_id=job_id)))

    async def logs(self, request: Request) -> Response:
        tenants, query = self._tenants(request), Query(request)
        limit = query.integer("limit", default=100, least=1, most=MAX_ROWS)
        page_cursor = query.text("cursor", most=512)
        level = query.choice("level", LEVELS)
        services, correlation_id = query.texts("service"), query.text("correlation_id")
        job_id, words = query.text("job_id"), query.text("q")
        narrow = correlation_id is not None or job_id is not None
        since, until = query.span(now=self._clock.now(), default=LONGEST if narrow else DAY, longest=LONGEST)
        query.finish()
        filters = Filters(
            since=since,
            until=until,
            severity=severity_of(level) if level else 0,
            services=services,
            correlation_id=correlation_id,
            job_id=job_id,
            words=words,
        )
        return _json(
            views.page(
                await search_logs(tenants, self._pool, filters=filters, page_cursor=page_cursor, limit=limit),
                views.entry,
            )
        )

    async def log_errors(self, request: Request) -> Response:
        tenants, query = self._tenants(request), Query(request)
        limit = query.integer("limit", default=50, least=1, most=MAX_ROWS)
        services = query.texts("service")
        since, until = query.span(now=self._clock.now(), default=DAY, longest=LONGEST)
        query.finish()
        groups = await group_errors(tenants, self._pool, since=since, until=until, services=services, limit=limit)
        return _json({"data": [views.error_group(row) for row in groups], "next_cursor": None, "has_more": False})

    async def stats(self, request: Request) -> Response:
        tenant, query = caller(request).tenant, Query(request)
        seconds = query.integer("window_s", default=3600, least=1, most=7 * 86_400)
        query.finish()
        now = self._clock.now()
        window = Window(now - timedelta(seconds=seconds), now)
        return _json(views.stats(await compute_stats(tenant, self._pool, window=window), window))

    async def system(self, request: Request) -> Response:
        caller(request)
        Query(request).finish()
        return _json(views.system(await show_system(self._pool, ask=self._ask, clock=self._clock)))

    async def audit(self, request: Request) -> Response:
        tenants, query = self._tenants(request), Query(request)
        limit = query.integer("limit", default=50, least=1, most=MAX_ROWS)
        page_cursor = query.text("cursor", most=512)
        filters = audit.Filters(
            action=query.text("action"),
            actor=query.text("actor"),
            target=query.text("target", most=1024),
            outcome=query.text("outcome"),
            since=query.moment("since"),
            until=query.moment("until"),
        )
        query.finish()
        found = await list_audit(tenants, self._pool, filters=filters, page_cursor=page_cursor, limit=limit)
        return _json(views.page(found, views.audit))

    def _tenants(self, request: Request) -> list[str]:
        tenant = caller(request).tenant
        return [tenant, NO_TENANT] if tenant in self._operators else [tenant]


def _job_id(request: Request) -> str:
    job_id = str(request.path_params["job_id"])
    if not is_id("job", job_id):
        raise Problem("not_found")
    return job_id


def _json(body: object, *, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")


async def _on_cursor(request: Request, _error: Exception) -> Response:
    wrong = FieldError("cursor", "is none of ours; read the list from its beginning")
    return render(Problem("validation_failed", errors=[wrong]), instance=request.url.path)


async def _on_slow(request: Request, _error: Exception) -> Response:
    wrong = FieldError("since", "this asks for too much at once; narrow the span of time or add a filter")
    return render(Problem("validation_failed", errors=[wrong]), instance=request.url.path)


async def _on_away(request: Request, _error: Exception) -> Response:
    return render(Problem("unavailable", "The monitor's database is away."), instance=request.url.path)
