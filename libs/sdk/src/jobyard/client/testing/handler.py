"""The fake yard's HTTP plumbing: bodies, answers, problems, and connections that break on purpose."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from jobyard.client.testing.yard import Document, Yard

API_KEY = "jy_test_key"


class Problem(Exception):
    def __init__(self, status: int, code: str, detail: str = "", errors: list[Document] | None = None) -> None:
        self.status, self.code, self.detail, self.errors = status, code, detail or code, errors or []


class Cut(Exception):
    """The connection is to break now."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    yard: Yard
    routes: ClassVar[list[tuple[str, str, Callable[..., None]]]] = []

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_HEAD = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.where, self.query = unquote(parts.path), dict(parse_qsl(parts.query))
        self.yard.seen.append((self.command, self.where, {name.lower(): value for name, value in self.headers.items()}))
        self.fault = self.yard.fault(self.command, self.where)
        try:
            if not self._faulty():
                self._route()
        except Problem as problem:
            self._problem(problem)
        except Cut:
            self._reset()

    def _faulty(self) -> bool:
        if self.fault is None or self.fault.kind in ("lose", "cut", "slow"):
            return False
        if self.fault.kind == "drop":
            raise Cut
        self.body()
        self._problem(Problem(self.fault.status, self.fault.code), headers=self.fault.headers)
        return True

    def _route(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {API_KEY}":
            self.body()
            raise Problem(401, "unauthenticated", "the key is not valid")
        if self.command == "GET" and self.where in self.yard.canned:
            self.answer(200, self.yard.canned[self.where])
            return
        for method, pattern, handle in self.routes:
            if method == self.command and (found := re.fullmatch(pattern, self.where)):
                handle(self, *found.groups())
                return
        self.body()
        raise Problem(404, "not_found", f"nothing at {self.where}")

    def _reset(self) -> None:
        """Break the connection so that the other side notices at once."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def end_early(self) -> None:
        """An orderly end, as a reset would take back what the client has not read yet."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.close_connection = True

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _problem(self, problem: Problem, *, headers: dict[str, str] | None = None) -> None:
        document = {"type": f"/problems/{problem.code}", "title": problem.code, "status": problem.status}
        document |= {"code": problem.code, "detail": problem.detail, "errors": problem.errors, "trace_id": "0" * 32}
        self.answer(problem.status, document, kind="application/problem+json", headers=headers)

    def answer(
        self,
        status: int,
        document: Document | None = None,
        *,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        if self.fault is not None and self.fault.kind == "lose":
            raise Cut
        if self.fault is not None and self.fault.kind == "slow":
            self.yard.wait(lambda: False, seconds=self.fault.after)
        content = b"" if document is None or self.command == "HEAD" else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(content)
