"""The fake yard as a server that can be stopped and started again."""

from __future__ import annotations

import re
import threading
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any

from jobyard.client.testing.handler import API_KEY
from jobyard.client.testing.routes import Routes
from jobyard.client.testing.yard import Fault, Yard


class FakeYard:
    """Use it as a context manager; `url` and `api_key` are for clients, `yard` is its state."""

    def __init__(self) -> None:
        self.yard = Yard()
        self.api_key = API_KEY
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> FakeYard:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, after a `stop` on the same port again."""
        handler = type("Handler", (Routes,), {"yard": self.yard})
        self.yard.closing = False
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        with self.yard.changed:
            self.yard.closing = True
            self.yard.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._server = None

    def fail(self, method: str, path: str, kind: str, **details: Any) -> Fault:
        """Let the next matching requests go wrong; `path` is a regular expression."""
        fault = Fault(method, path, kind, **details)
        self.yard.faults.append(fault)
        return fault

    def requests(self, method: str, path: str) -> list[dict[str, str]]:
        """Headers of the matching requests so far, names in lower case."""
        return [headers for verb, where, headers in self.yard.seen if verb == method and re.fullmatch(path, where)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break on purpose here."""
