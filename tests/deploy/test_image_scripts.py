"""The scripts of the image, run as they are."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/docker"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"image_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Answer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b'{"status": "down"}')

    def log_message(self, *_: object) -> None:
        """Nothing to tell."""


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[int]:
    handler = type("Answer", (_Answer,), {"status": request.param})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def health(port: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", str(FOLDER / "healthcheck.py")]
    env = {"JOBYARD_HTTP_PORT": str(port), "PATH": "/usr/bin:/bin"}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(("service", "code", "says"), [(200, 0, ""), (503, 1, "503")], indirect=["service"])
def test_the_health_check_follows_readiness(service: int, code: int, says: str) -> None:
    told = health(service)
    assert (told.returncode, told.stdout[:3]) == (code, says)


@pytest.mark.parametrize("service", [200], indirect=True)
def test_a_service_that_does_not_listen_is_not_healthy(service: int) -> None:
    told = health(1)
    assert told.returncode == 1
    assert "ConnectionRefusedError" in told.stdout


def test_process_1_is_the_service_itself() -> None:
    command = script("entry").command
    assert command("files", []) == [sys.executable, "-m", "jobyard_files"]
    assert command("files", ["migrate"]) == [sys.executable, "-m", "jobyard_files", "migrate"]
    assert command("files", ["topics", "k:1"])[1:] == ["-m", "jobyard_common.messaging.topics", "k:1"]
    for module in script("entry").TOOLS.values():
        assert importlib.util.find_spec(module) is not None


def test_an_environment_is_filled_with_secrets_of_its_own() -> None:
    made = script("make_env")
    example = (ROOT / ".env.example").read_text()
    first, second = made.filled(example), made.filled(example)
    empty = re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE)
    assert len(empty) == 8
    for name in empty:
        one, two = (re.search(rf"^{name}=(.+)$", text, re.MULTILINE) for text in (first, second))
        assert one is not None
        assert two is not None
        assert one[1] != two[1]
        assert re.fullmatch(r"[0-9a-f]{48}|[A-Za-z0-9_][A-Za-z0-9_-]{21}", one[1])
    assert re.sub(r"=.*", "=", first) == re.sub(r"=.*", "=", example)


def test_the_lock_is_cut_into_packages() -> None:
    select = script("select_lock")
    lock = "# head\na-b==1.0 \\\n    --hash=sha256:00\nc_d==2 ; sys_platform == 'win32' \\\n    --hash=sha256:11\n"
    assert list(select.blocks(lock)) == [
        ("a-b", "a-b==1.0 \\\n    --hash=sha256:00\n"),
        ("c-d", "c_d==2 ; sys_platform == 'win32' \\\n    --hash=sha256:11\n"),
    ]


@pytest.mark.parametrize(
    ("text", "name"), [("redis[hiredis]>=7,<9", "redis"), ("A.b_C", "a-b-c"), ("x ; y", "x"), ("x==1", "x")]
)
def test_names_of_requirements(text: str, name: str) -> None:
    assert script("select_lock").name_of(text) == name


@pytest.mark.parametrize("service", ["gateway", "executor", "files", "monitor"])
def test_everything_a_service_needs_is_in_the_lock(service: str) -> None:
    select = script("select_lock")
    known = {select.project(path.parent)[0]: path.parent for path in (ROOT / "libs").glob("*/pyproject.toml")}
    members = select.closure(ROOT / "services" / service, known)
    assert members[-1].name == service
    assert ROOT / "libs/common" in members
    locked = {name for name, _ in select.blocks((ROOT / "requirements.lock").read_text())}
    assert {select.name_of(text) for text in select.foreign(members)} - locked == set()
