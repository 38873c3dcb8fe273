"""An OTLP/HTTP collector on a real socket: what a service exports arrives here as it would at Jaeger."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class SeenSpan:
    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: frozenset[str]
    attributes: dict[str, Any]
    duration_ms: float


KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


class Collector:
    """`keep=False` throws away what arrives, so that a measurement is not of the collector."""

    def __init__(self, *, keep: bool = True) -> None:
        self._spans: list[SeenSpan] = []
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if keep:
                    collector.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        found = []
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(attributes(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_spans:
                found += [seen(service, span) for span in scope.spans]
        with self._lock:
            self._spans += found

    def trace(self, trace_id: str) -> list[SeenSpan]:
        with self._lock:
            return [span for span in self._spans if span.trace_id == trace_id]


def seen(service: str, span: Any) -> SeenSpan:
    return SeenSpan(
        service=service.removeprefix("jobyard-"),
        name=span.name,
        kind=KINDS.get(span.kind, "?"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=frozenset(link.span_id.hex() for link in span.links),
        attributes=attributes(span.attributes),
        duration_ms=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
    )


def attributes(rows: Any) -> dict[str, Any]:
    found = {}
    for row in rows:
        kind = row.value.WhichOneof("value")
        found[row.key] = getattr(row.value, kind) if kind else None
    return found
