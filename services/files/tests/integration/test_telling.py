"""What the service tells of itself: health, logs, heartbeats, spans; and how it bears a database that goes away."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import asyncpg
import pytest
from jobyard_common.contracts.ids import new_id
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = TUS | {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def collector():
    """A real OTLP/HTTP receiver; `spans` has (service, span)."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                name = next(a.value.string_value for a in group.resource.attributes if a.key == "service.name")
                spans.extend((name, span) for scope in group.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.spans = spans
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.serial
def test_a_jobs_trace_goes_through_its_input_and_its_output(make_files, collector):
    trace, parent = os.urandom(16), os.urandom(8)
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    files = make_files()
    files.kill()
    files.start(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    inside = {"traceparent": f"00-{trace.hex()}-{parent.hex()}-01", "X-Correlation-Id": "c-1"}
    with files.client() as client:
        made = client.post("/v1/files", headers=OCTETS | {"Upload-Length": "3"}, content=b"abc")
        file_id = made.headers["Location"].rpartition("/")[2]
        assert client.get(f"/internal/v1/files/{file_id}/content", headers=inside).content == b"abc"
        stored = client.put(
            f"/internal/v1/outputs/{new_id('job')}/1/1", params={"name": "x"}, content=b"x", headers=inside
        )
        assert stored.headers["traceparent"].split("-")[1] == trace.hex()
        assert stored.headers["X-Correlation-Id"] == "c-1"
    deadline = time.monotonic() + 15
    while len(found := {span.name: span for _, span in collector.spans if span.trace_id == trace}) < 3:
        assert time.monotonic() < deadline, [span.name for _, span in collector.spans]
        time.sleep(0.1)
    fetch = found["GET /internal/v1/files/{file_id}/content"]
    store = found["PUT /internal/v1/outputs/{job_id}/{attempt}/{fence}"]
    told = found["send files.events"]
    assert {fetch.kind, store.kind} == {Span.SPAN_KIND_SERVER}
    assert {fetch.parent_span_id, store.parent_span_id} == {parent}
    assert (told.kind, told.parent_span_id) == (Span.SPAN_KIND_PRODUCER, store.span_id)
    assert {name for name, _ in collector.spans} == {"jobyard-files"}


@pytest.mark.serial
def test_health_names_its_checks_and_a_stop_is_clean(make_files):
    files = make_files()
    with files.client() as client:
        deadline = time.monotonic() + 20
        while (ready := client.get("/readyz").json())["status"] != "ok":
            assert time.monotonic() < deadline, ready
            time.sleep(0.1)
        assert set(ready["checks"]) == {"postgres", "kafka", "outbox", "consumer jobs.events", "disk"}
        assert "jobyard_uploaded_bytes_total" in client.get("/metrics").text
    assert files.terminate() == 0
    events = [row["event"] for row in files.log()]
    assert events.index("service.ready") < events.index("service.draining")
    assert not [row for row in files.log() if row["level"] in ("error", "critical")]


@pytest.mark.serial
def test_lost_database_connections_cost_a_retry_and_no_byte(make_files, servers):
    content = os.urandom(32 * 2**20)
    files = make_files(checkpoint_bytes=str(2**20))
    name = files.dsn.partition("?")[0].rpartition("/")[2]
    stop = threading.Event()

    async def cut():
        db = await asyncpg.connect(servers.postgres)
        while not stop.is_set():
            await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            await asyncio.sleep(0.15)
        await db.close()

    with files.client() as client:
        url = client.post("/v1/files", headers=TUS | {"Upload-Length": str(len(content))}).headers["Location"]
        cutter = threading.Thread(target=lambda: asyncio.run(cut()))
        cutter.start()
        statuses, deadline = set(), time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                head = client.head(url, headers=TUS)
                statuses.add(head.status_code)
                if head.status_code != 200:
                    continue
                offset = int(head.headers["Upload-Offset"])
                if offset == len(content):
                    break
                sent = client.patch(
                    url,
                    content=content[offset : offset + 4 * 2**20],
                    headers=OCTETS | {"Upload-Offset": str(offset)},
                )
                statuses.add(sent.status_code)
        finally:
            stop.set()
            cutter.join()
        assert statuses <= {200, 204, 409, 503}
        while (meta := client.get(url)).status_code != 200 or meta.json()["sha256"] is None:
            assert time.monotonic() < deadline, meta.text
            time.sleep(0.05)
        assert meta.json()["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"JOBYARD_MAX_UPLOAD_BYTES": "0"}, "JOBYARD_MAX_UPLOAD_BYTES"),
        ({"JOBYARD_IO_THREADS": "many"}, "JOBYARD_IO_THREADS"),
        ({"JOBYARD_POSTGRES_DSN": None}, "JOBYARD_POSTGRES_DSN"),
        ({"JOBYARD_SERVICE_TOKEN": None}, "JOBYARD_SERVICE_TOKEN"),
        ({"JOBYARD_EXECUTOR_URL": "executor"}, "JOBYARD_EXECUTOR_URL"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_name(tmp_path, changed, told):
    settings = {
        "JOBYARD_POSTGRES_DSN": "postgresql://nowhere/x",
        "JOBYARD_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "JOBYARD_SERVICE_TOKEN": "x",
        "JOBYARD_DATA_DIR": str(tmp_path),
    } | changed
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBYARD_", "OTEL_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "jobyard_files"],
        env=kept | {name: value for name, value in settings.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, told in ended.stderr) == (2, True), ended.stderr
    assert "Traceback" not in ended.stderr
