"""The application: the submit first, then the pages and health, then the API."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from jobyard_common.http.context import App, RequestContextMiddleware
from jobyard_common.http.health import health_routes
from jobyard_common.http.problems import install
from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.tracing import Tracer
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from jobyard_gateway.handlers.authenticate import Authenticator
from jobyard_gateway.inbound.http.pages import page_routes
from jobyard_gateway.inbound.http.routing import Endpoint, mount
from jobyard_gateway.inbound.http.submit import PATH, SubmitEndpoint


def make_api(endpoints: Sequence[Endpoint], *, authenticator: Authenticator) -> FastAPI:
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    install(api)
    mount(api, endpoints, authenticator=authenticator)
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
    return RequestContextMiddleware(app, tracer=tracer, trust_inbound=False)
