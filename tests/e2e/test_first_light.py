"""The whole path on real input: a file in, a profile and a report out, through all four services, in one trace."""

from __future__ import annotations

import csv
import secrets
import statistics
from pathlib import Path

import jobyard_local
import pytest

from tests.support.collector import Collector, SeenSpan
from tests.support.yard import Yard, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]
DATA = Path(jobyard_local.__file__).parent / "data"


def the_csv() -> Path:
    (path,) = DATA.rglob("*.csv")
    return path


def test_a_real_file_becomes_a_real_result(yard: Yard) -> None:
    with the_csv().open(newline="") as text:
        rows = list(csv.DictReader(text))
    file_id = yard.upload(the_csv().read_bytes(), name="data.csv")
    result = yard.run("table.profile", files={"data": file_id})
    value = result["value"]
    assert value["rows"] == len(rows) >= 10_000
    assert [column["name"] for column in value["columns"]] == list(rows[0])
    compared = 0
    for column in value["columns"]:
        cells = [row[column["name"]] for row in rows]
        present = [cell for cell in cells if cell != ""]
        assert (column["count"], column["nulls"]) == (len(present), len(cells) - len(present))
        if column["type"] in ("integer", "number"):
            numbers = [float(cell) for cell in present]
            assert column["min"] == min(numbers) and column["max"] == max(numbers)
            assert column["mean"] == pytest.approx(statistics.fmean(numbers), rel=1e-9)
            compared += 1
    assert compared >= 2
    assert any(column["nulls"] for column in value["columns"])
    (report,) = [row for row in result["files"] if row["name"] == "report.html"]
    page = yard.http.get(report["url"])
    assert page.status_code == 200 and b"<html" in page.content.lower()
    assert b"http://" not in page.content.replace(b"http://www.w3.org", b"") and b"https://" not in page.content


def test_one_job_is_one_trace_through_four_services(yard: Yard, collector: Collector) -> None:
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    file_id = yard.upload(b"some bytes", name="in.bin")
    job = yard.submit(
        "test.digest",
        {"copy_as": "out.bin"},
        files={"data": file_id},
        headers={"traceparent": f"00-{trace}-{parent}-01", "X-Correlation-Id": "order-77"},
    )
    done = yard.until_state(job["id"], "succeeded")
    assert (done["trace_id"], done["correlation_id"]) == (trace, "order-77")

    def whole() -> list[SeenSpan] | None:
        spans = collector.trace(trace)
        services = {span.service for span in spans}
        projected = any(span.name == "process jobs.events" and span.service == "monitor" for span in spans)
        known = {span.span_id for span in spans} | {parent}
        ready = services >= {"gateway", "executor", "files", "monitor"} and projected
        return spans if ready and all(span.parent_id in known for span in spans) else None

    spans = until(whole, what="a whole trace", timeout_s=20)
    request = one(spans, "gateway", "POST /v1/jobs")
    sent = one(spans, "gateway", "send jobs.commands")
    taken = one(spans, "executor", "process jobs.commands")
    ran = one(spans, "executor", "run test.digest")
    told = {span.span_id for span in spans if (span.service, span.name) == ("executor", "send jobs.events")}
    seen = one(spans, "monitor", "process jobs.events")
    assert (request.kind, request.parent_id) == ("SERVER", parent)
    assert (sent.kind, sent.parent_id) == ("PRODUCER", request.span_id)
    assert (taken.kind, taken.parent_id, taken.links) == ("CONSUMER", sent.span_id, {sent.span_id})
    assert (ran.kind, ran.parent_id) == ("INTERNAL", taken.span_id)
    assert seen.kind == "CONSUMER" and seen.parent_id in told and seen.links == {seen.parent_id}
    assert (ran.attributes["job.id"], ran.attributes["job.attempt"]) == (job["id"], 1)
    strays = {span.name for span in spans if span.attributes.get("correlation.id", "order-77") != "order-77"}
    assert strays == set(), "spans under another correlation id"
    for span in spans:
        if span.kind in ("PRODUCER", "CONSUMER"):
            assert span.attributes["messaging.system"] == "kafka"
            assert span.name.endswith(span.attributes["messaging.destination.name"])


def one(spans: list[SeenSpan], service: str, name: str) -> SeenSpan:
    return next(span for span in spans if (span.service, span.name) == (service, name))
