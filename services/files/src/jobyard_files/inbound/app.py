"""The routes of the service. Everything but health needs the service token."""

from __future__ import annotations

from collections.abc import Mapping

from jobyard_common.http import problems
from jobyard_common.http.context import App, RequestContextMiddleware
from jobyard_common.http.health import health_routes
from jobyard_common.http.internal import ServiceAuth
from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.tracing import Tracer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.inbound.answers import Endpoint, guarded
from jobyard_files.inbound.internal import InternalEndpoints
from jobyard_files.inbound.reads import ReadEndpoints
from jobyard_files.inbound.tus import OVERRIDABLE, TusEndpoints, spoken


def make_app(
    *,
    tus: TusEndpoints,
    reads: ReadEndpoints,
    internal: InternalEndpoints,
    readiness: Readiness,
    tracer: Tracer,
    token: str,
) -> App:
    collection = {"OPTIONS": tus.options, "POST": spoken(tus.post), "GET": reads.list}
    single = {
        "OPTIONS": tus.options,
        "HEAD": spoken(tus.head),
        "PATCH": spoken(tus.patch),
        "DELETE": spoken(tus.delete, required=False),
        "GET": reads.get,
    }
    routes = [
        *health_routes(readiness),
        _route("/v1/files", collection),
        _route("/v1/files/", collection),
        _route("/v1/files/{file_id}", single | {"POST": _overridden(single)}),
        _route("/v1/files/{file_id}/content", {"GET": reads.content, "HEAD": reads.content}),
        _route("/internal/v1/outputs/{job_id}/{attempt:int}/{fence:int}", {"PUT": internal.put_output}),
        _route("/internal/v1/files/exists", {"POST": internal.exists}),
        _route("/internal/v1/files/{file_id}", {"GET": reads.get_inside}),
        _route("/internal/v1/files/{file_id}/content", {"GET": reads.content_inside, "HEAD": reads.content_inside}),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    problems.install(app)
    return RequestContextMiddleware(ServiceAuth(app, token=token), tracer=tracer, trust_inbound=True)


def _route(path: str, by_method: Mapping[str, Endpoint]) -> Route:
    guards = {method: guarded(endpoint) for method, endpoint in by_method.items()}
    template = path.replace(":int}", "}")

    async def dispatch(request: Request) -> Response:
        request.scope["route_template"] = template
        endpoint = guards.get(request.method)
        if endpoint is None:
            raise problems.from_status(405)
        return await endpoint(request)

    return Route(path, dispatch, methods=list(guards))


def _overridden(single: Mapping[str, Endpoint]) -> Endpoint:
    """POST with `X-HTTP-Method-Override`, for clients whose network lets only GET and POST pass."""

    async def answer(request: Request) -> Response:
        wanted = request.headers.get("x-http-method-override", "").upper()
        if wanted not in OVERRIDABLE:
            detail = f"A POST here needs X-HTTP-Method-Override with one of {', '.join(OVERRIDABLE)}."
            raise Refused(Refusal.MALFORMED_HEADER, detail)
        return await single[wanted](request)

    return answer
