"""Health and metrics, outside the API and open to everybody."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_common.runtime.health import Readiness
from jobyard_common.telemetry import metrics


def health_routes(readiness: Readiness) -> list[Route]:
    async def livez(_request: Request) -> Response:
        return _answer(200, {"status": "ok"})

    async def readyz(_request: Request) -> Response:
        status = readiness.status()
        body = {"status": status, "checks": readiness.results(), "draining": readiness.draining}
        return _answer(503 if status == "down" else 200, body)

    async def startupz(_request: Request) -> Response:
        return _answer(200 if readiness.started else 503, {"status": "ok" if readiness.started else "starting"})

    async def metrics_page(_request: Request) -> Response:
        return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)

    return [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/startupz", startupz),
        Route("/metrics", metrics_page),
    ]


def _answer(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
