"""What every request has: a request id, a correlation id, a place in a trace; and its span, metric and headers.

Pure ASGI, because the alternatives cost more than the handler of a submit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from prometheus_client import Histogram

from jobyard_common.contracts.entropy import random_hex
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.context import TraceContext, current_correlation, current_trace, new_trace, parse
from jobyard_common.telemetry.tracing import Kind, Span, Tracer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET = ("/livez", "/readyz", "/startupz", "/metrics")


@dataclass(slots=True)
class RequestContext:
    """Of the request that the current task answers."""

    request_id: str
    correlation_id: str
    trace: TraceContext
    inbound: TraceContext | None = None
    """The caller's context, if it sent a valid one."""
    answer_headers: list[tuple[bytes, bytes]] = field(default_factory=list, repr=False)
    """Headers that the answer gets, whatever it will be."""
    span: Span | None = field(default=None, repr=False)
    on_trusted: Callable[[], None] | None = field(default=None, repr=False)

    def trust_caller(self) -> None:
        """The caller is authenticated: continue its trace. Until then a request has a trace of its own."""
        if self.on_trusted is not None:
            self.on_trusted()


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def current() -> RequestContext:
    """The context of this request; outside of one, fresh ids."""
    found = _current.get()
    if found is None:
        trace = current_trace.get() or new_trace(sampled=False)
        return RequestContext(random_hex(8), current_correlation.get() or random_hex(8), trace)
    return found


class RequestContextMiddleware:
    """Outermost of all. `trust_inbound`: callers are services of ours, whose context is continued at once."""

    def __init__(self, app: App, *, tracer: Tracer, trust_inbound: bool) -> None:
        self._app = app
        self._tracer = tracer
        self._trust = trust_inbound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, correlation_id, inbound = _read(scope["headers"])
        # Until the caller is trusted; then its trace goes on, or this one begins with the span.
        context = RequestContext(request_id, correlation_id, self._tracer.root(), inbound)
        quiet = scope["path"] in _QUIET
        began_ns, status = time.time_ns(), 500

        def begin(parent: TraceContext | None) -> None:
            context.on_trusted = None
            if quiet:
                return
            if self._tracer.exporting:
                span = self._start(scope, parent, began_ns, correlation_id)
                context.span, context.trace = span, span.context
            elif parent is not None:
                context.trace = parent.child()
            current_trace.set(context.trace)

        context.on_trusted = lambda: begin(inbound)
        if self._trust or inbound is None:
            begin(inbound)
        token, correlation_token = _current.set(context), current_correlation.set(correlation_id)
        trace_token = current_trace.set(context.trace)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-correlation-id", correlation_id.encode()),
                    (b"traceparent", context.trace.format().encode()),
                    *context.answer_headers,
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            if not quiet:
                self._finish(scope, context, status, began_ns)
            _current.reset(token)
            current_correlation.reset(correlation_token)
            current_trace.reset(trace_token)

    def _start(self, scope: Scope, parent: TraceContext | None, began_ns: int, correlation_id: str) -> Span:
        host, port = scope.get("server") or ("", 0)
        return self._tracer.span(
            f"{scope['method']} {scope['path']}",
            kind=Kind.SERVER,
            parent=parent,
            start_ns=began_ns,
            attributes={
                "http.request.method": scope["method"],
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
                "server.address": host or "",
                "server.port": port or 0,
                "correlation.id": correlation_id,
            },
        )

    def _finish(self, scope: Scope, context: RequestContext, status: int, began_ns: int) -> None:
        if context.span is None and context.on_trusted is not None and self._tracer.exporting:
            # Refused before anybody vouched for the caller: a trace of its own.
            context.span = self._start(scope, context.trace, began_ns, context.correlation_id)
        route = _route(scope)
        _duration(scope["method"], route, status).observe((time.time_ns() - began_ns) / 1e9)
        span = context.span
        if span is not None:
            span.rename(f"{scope['method']} {route}")
            span.set("http.route", route)
            span.set("http.response.status_code", status)
            if status >= 500:
                span.error(str(status))
            span.end()


@lru_cache(maxsize=2048)
def _duration(method: str, route: str, status: int) -> Histogram:
    return metrics.HTTP_DURATION.labels(method=method, route=route, status=str(status))


def _route(scope: Scope) -> str:
    """The template of the route, never the raw path: labels and span names must stay few."""
    template = scope.get("route_template")
    if template:
        return str(template)
    route = scope.get("route")
    path = getattr(route, "path", None)
    return str(path) if path else "unmatched"


def _read(headers: list[tuple[bytes, bytes]]) -> tuple[str, str, TraceContext | None]:
    request_id = correlation_id = ""
    inbound = None
    for name, value in headers:
        if name == b"x-request-id" and _ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"x-correlation-id" and _ID.fullmatch(value):
            correlation_id = value.decode()
        elif name == b"traceparent":
            inbound = parse(value.decode(errors="replace"))
    if request_id and correlation_id:
        return request_id, correlation_id, inbound
    fresh = random_hex(16)
    return request_id or fresh[:16], correlation_id or fresh[16:], inbound
