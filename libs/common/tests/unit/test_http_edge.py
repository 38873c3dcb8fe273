"""The frame of every HTTP answer: context, problems, health, the service token."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.contracts.telemetry import Check
from jobyard_common.http.context import RequestContextMiddleware, current
from jobyard_common.http.health import health_routes
from jobyard_common.http.internal import ServiceAuth, caller, headers_for
from jobyard_common.http.problems import FieldError, Problem, install
from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry.tracing import Tracer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

INBOUND = f"00-{'a' * 32}-{'b' * 16}-01"


def ask(app: Any, path: str, **options: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://yard") as http:
            return await http.request(options.pop("method", "GET"), path, **options)

    return asyncio.run(run())


def service(readiness: Readiness | None = None, *, tracer: Tracer | None = None, trust: bool = True) -> Any:
    async def fine(request: Request) -> Response:
        if request.query_params.get("trust"):
            current().trust_caller()
        return JSONResponse({"trace": current().trace.trace_id})

    async def refuse(_request: Request) -> Response:
        raise Problem("validation_failed", errors=[FieldError("/a", "is wrong")])

    async def fail(_request: Request) -> Response:
        raise RuntimeError("a secret detail")

    async def who(request: Request) -> Response:
        known = caller(request)
        return JSONResponse({"tenant": known.tenant, "actor": [known.actor.kind, known.actor.id]})

    routes = [Route("/fine/{name}", fine), Route("/refuse", refuse), Route("/fail", fail), Route("/who", who)]
    app = Starlette(routes=[*routes, *health_routes(readiness or Readiness())])
    install(app)
    return RequestContextMiddleware(app, tracer=tracer or Tracer("test"), trust_inbound=trust)


def test_a_refusal_is_a_whole_problem_document() -> None:
    answer = ask(service(), "/refuse", headers={"X-Correlation-Id": "check-42"})
    body = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert (body["code"], body["type"], body["retryable"]) == (
        "validation_failed",
        "/problems/validation_failed",
        False,
    )
    assert body["errors"] == [{"pointer": "/a", "message": "is wrong"}]
    assert body["correlation_id"] == answer.headers["x-correlation-id"] == "check-42"
    assert body["trace_id"] in answer.headers["traceparent"]


def test_our_own_fault_says_nothing_of_its_cause() -> None:
    answer = ask(service(), "/fail")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "GET", 404), ("/refuse", "DELETE", 405)])
def test_the_router_answers_with_problems_too(path: str, method: str, status: int) -> None:
    answer = ask(service(), path, method=method)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("value", ["x" * 5000, "a b", "<script>", ""])
def test_rubbish_in_id_headers_is_replaced(value: str) -> None:
    answer = ask(service(), "/fine/1", headers={"X-Request-Id": value, "X-Correlation-Id": value})
    assert answer.headers["x-request-id"] not in ("", value)
    assert answer.headers["x-correlation-id"] not in ("", value)


def test_the_trace_of_a_service_is_continued_that_of_a_stranger_only_once_trusted() -> None:
    assert ask(service(), "/fine/1", headers={"traceparent": INBOUND}).json()["trace"] == "a" * 32
    edge = service(trust=False)
    assert ask(edge, "/fine/1", headers={"traceparent": INBOUND}).json()["trace"] != "a" * 32
    assert ask(edge, "/fine/1?trust=1", headers={"traceparent": INBOUND}).json()["trace"] == "a" * 32


def test_the_span_of_a_request_has_the_names_of_the_conventions() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("gateway", exporter=exporter)
    ask(service(tracer=tracer, trust=False), "/fine/7?trust=1", headers={"traceparent": INBOUND})
    tracer.shutdown()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /fine/{name}"
    assert span.parent is not None and f"{span.parent.span_id:016x}" == "b" * 16
    assert f"{span.context.trace_id:032x}" == "a" * 32
    assert span.attributes is not None
    assert (span.attributes["http.route"], span.attributes["http.response.status_code"]) == ("/fine/{name}", 200)
    assert span.resource.attributes["service.name"] == "jobyard-gateway"


def test_readiness_tells_what_is_down() -> None:
    readiness = Readiness()
    app = service(readiness)
    assert (ask(app, "/livez").status_code, ask(app, "/startupz").status_code, ask(app, "/readyz").status_code) == (
        200,
        503,
        503,
    )
    readiness.started = True
    readiness.register("kafka", lambda: Check("down", "away", critical=False))
    assert (ask(app, "/readyz").status_code, ask(app, "/readyz").json()["status"]) == (200, "degraded")
    readiness.register("database", lambda: Check("down", "away"))
    assert ask(app, "/readyz").status_code == 503
    assert "# TYPE jobyard_http_request_duration_seconds" in ask(app, "/metrics").text


def test_only_the_service_token_opens_internal_routes() -> None:
    app = ServiceAuth(service(), token="right")
    actor = Actor(ActorKind.KEY, "key one/ü")
    good = headers_for("right", tenant="tnt_1", actor=actor)
    assert ask(app, "/who", headers=good).json() == {"tenant": "tnt_1", "actor": ["key", "key one/ü"]}
    assert ask(app, "/who", headers=good | {"Authorization": "Bearer wrong"}).status_code == 401
    assert ask(app, "/who").status_code == 401
    assert ask(app, "/livez").status_code == 200
    assert ask(app, "/who", headers=good | {"X-Jobyard-Actor": "ghost:1"}).status_code == 400
    assert ask(app, "/who", headers={"Authorization": "Bearer right"}).status_code == 400
