"""The real service as a process, on real servers, beside an executor that says what a test wants."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from jobyard_local.testing.databases import Databases
from jobyard_local.testing.fixtures import finish

TOKEN = "t" * 32
TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = TUS | {"Content-Type": "application/offset+octet-stream"}


class StandInExecutor:
    """Answers `/internal/v1/committed/{job}/{attempt}/{fence}` from `verdicts`; what is not there is still running."""

    def __init__(self) -> None:
        self.verdicts: dict[str, bool | None] = {}
        self.asked: list[str] = []
        self.away = False
        parent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                key = self.path.removeprefix("/internal/v1/committed/")
                parent.asked.append(key)
                allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
                body = json.dumps({"committed": parent.verdicts.get(key)}).encode()
                self.send_response(500 if parent.away else 200 if allowed else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FilesProcess:
    """`python -m jobyard_files` with settings of its own; survives `kill` and `start` with its data."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment | {"JOBYARD_HTTP_PORT": str(self.port)}
        self._log = log
        self.tenant = "tnt_a"
        self.executor: StandInExecutor | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.data_dir = Path(environment["JOBYARD_DATA_DIR"])
        self.dsn = environment["JOBYARD_POSTGRES_DSN"]

    def start(self, **settings: str) -> None:
        self._environment |= settings
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBYARD_", "OTEL_"))}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobyard_files"], env=kept | self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._log.read_text()[-4000:]
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/startupz", trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self._log.read_text()[-4000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def limit_file_size(self, limit: int) -> None:
        """Writes past `limit` bytes of a file fail as on a full disk; -1 lifts it."""
        assert self.process is not None
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (limit, -1))

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def client(self, *, tenant: str | None = None, **options: Any) -> httpx.Client:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "X-Jobyard-Tenant": tenant or self.tenant,
            "X-Jobyard-Actor": "key:key_1",
            "X-Jobyard-Public-Url": self.url,
        }
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, **options)


@pytest.fixture
def executor() -> Iterator[StandInExecutor]:
    stand_in = StandInExecutor()
    yield stand_in
    stand_in.close()


@pytest.fixture
def make_files(
    database: Any, servers: Any, topic_prefix: str, executor: StandInExecutor, tmp_path: Path
) -> Iterator[Callable[..., FilesProcess]]:
    """Starts files services on one database and volume of this test; settings are names without their prefix."""
    running: list[FilesProcess] = []
    dsn = database("files")

    def make(**settings: str) -> FilesProcess:
        process = FilesProcess(
            environment(dsn, servers.kafka, topic_prefix, executor.url, tmp_path / "data", **settings),
            tmp_path / f"files-{len(running)}.log",
        )
        running.append(process)
        process.start()
        return process

    yield make
    for process in running:
        process.end()


@pytest.fixture(scope="session")
def shared_files(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilesProcess]:
    """One service for all tests that neither stop it nor need settings; its topics do not exist."""
    folder, databases, stand_in = tmp_path_factory.mktemp("shared"), Databases(servers.postgres), StandInExecutor()
    dsn = finish(databases.clone("files", package="jobyard_files"))
    prefix = f"t{secrets.token_hex(5)}."
    process = FilesProcess(environment(dsn, servers.kafka, prefix, stand_in.url, folder / "data"), folder / "files.log")
    process.executor = stand_in
    process.start()
    yield process
    process.end()
    stand_in.close()
    finish(databases.drop_all())


@pytest.fixture
def files(shared_files: FilesProcess) -> FilesProcess:
    """The shared service, seen by a tenant of this test alone."""
    mine = copy.copy(shared_files)
    mine.tenant = f"tnt_{secrets.token_hex(6)}"
    return mine


def environment(
    dsn: str, kafka: str, prefix: str, executor_url: str, data_dir: Path, **settings: str
) -> dict[str, str]:
    return {
        "JOBYARD_POSTGRES_DSN": dsn,
        "JOBYARD_KAFKA_BOOTSTRAP": kafka,
        "JOBYARD_TOPIC_PREFIX": prefix,
        "JOBYARD_EXECUTOR_URL": executor_url,
        "JOBYARD_SERVICE_TOKEN": TOKEN,
        "JOBYARD_DATA_DIR": str(data_dir),
        "JOBYARD_INSTANCE_ID": f"files-{secrets.token_hex(4)}",
        "JOBYARD_DISK_FLOOR_BYTES": "0",
        **{f"JOBYARD_{name.upper()}": value for name, value in settings.items()},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
