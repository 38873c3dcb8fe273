"""The application: the submit first, then the pages and health, then the API."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from jobyard_common.http.context import App, Receive, RequestContextMiddleware, Scope, Send
from jobyard_common.http.health import health_routes
from jobyard_common.http.problems import install
from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.tracing import Tracer
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from jobyard_gateway.handlers.authenticate import Authenticator
from jobyard_gateway.handlers.limit import UNLIMITED, Limiter
from jobyard_gateway.inbound.http.pages import page_routes
from jobyard_gateway.inbound.http.routing import Endpoint, mount
from jobyard_gateway.inbound.http.submit import PATH, SubmitEndpoint


def make_api(endpoints: Sequence[Endpoint], *, authenticator: Authenticator, limiter: Limiter = UNLIMITED) -> FastAPI:
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    install(api)
    mount(api, endpoints, authenticator=authenticator, limiter=limiter)
    return api


def make_app(
    api: FastAPI,
    submit: SubmitEndpoint,
    *,
    readiness: Readiness,
    tracer: Tracer,
    version: str,
    events_document: bytes,
) -> App:
    pages = page_routes(api, version=version, events_document=events_document)
    routes: list[BaseRoute] = [
        Route(PATH, submit, methods=["POST"]),
        *health_routes(readiness),
        *pages,
        Mount("/", api),
    ]
    app = Starlette(routes=routes)
    install(app)
    return RequestContextMiddleware(_ShortCut(submit, app), tracer=tracer, trust_inbound=False)


class _ShortCut:
    """Submits go straight to their endpoint; the layers of the framework cost more than checking one."""

    def __init__(self, submit: SubmitEndpoint, app: App) -> None:
        self._submit = submit
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == PATH and scope.get("method") == "POST":
            await self._submit(scope, receive, send)
        else:
            await self._app(scope, receive, send)
