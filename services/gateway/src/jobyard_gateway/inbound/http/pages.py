"""Documents and pages outside `/v1`: open to everybody, no key needed."""

from __future__ import annotations

import html
from importlib import resources

from fastapi import FastAPI
from jobyard_common.http.problems import CODES, Problem
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from jobyard_gateway.documents.openapi import encoded

_STATIC = {"docs.js": "text/javascript", "docs.css": "text/css"}
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def page_routes(api: FastAPI, *, version: str, events_document: bytes) -> list[Route]:
    async def openapi_document(_request: Request) -> Response:
        return Response(encoded(api, version), media_type="application/json")

    async def asyncapi_document(_request: Request) -> Response:
        return Response(events_document, media_type="application/json")

    return [
        Route("/openapi.json", openapi_document),
        Route("/asyncapi.json", asyncapi_document),
        Route("/docs", docs),
        Route("/docs/{name}", static),
        Route("/problems", problems),
        Route("/problems/{code}", problem),
    ]


async def docs(_request: Request) -> Response:
    return HTMLResponse(_file("docs.html"), headers=_SAFE)


async def static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise Problem("not_found")
    return Response(_file(name), media_type=_STATIC[name], headers=_SAFE)


async def problems(_request: Request) -> Response:
    rows = "".join(
        f'<li><a href="/problems/{code}"><code>{code}</code></a> ({known.status}): {html.escape(known.meaning)}</li>'
        for code, known in CODES.items()
    )
    return _page("Problem codes", f"<ul>{rows}</ul>")


async def problem(request: Request) -> Response:
    code = request.path_params["code"]
    known = CODES.get(code)
    if known is None:
        raise Problem("not_found", "There is no problem of this code.")
    again = "The same request may succeed later." if known.retryable else "Repeating the same request changes nothing."
    text = f"<p>{html.escape(known.meaning)}</p><p>Status {known.status}. {again}</p>"
    text += "<p><a href='/problems'>All codes</a></p>"
    return _page(f"{known.title} ({code})", text)


def _page(title: str, body: str) -> Response:
    safe = html.escape(title)
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{safe}</title>"
        f'<link rel=stylesheet href="/docs/docs.css"><body><h1>{safe}</h1>{body}</body></html>',
        headers=_SAFE,
    )


def _file(name: str) -> bytes:
    return (resources.files("jobyard_gateway.documents") / "static" / name).read_bytes()
