"""Jobs as the API shows them: complete in the 202, byte-true when passed on."""

from __future__ import annotations

import json

import pytest
from jobyard_common.contracts.ids import new_id
from jobyard_gateway.domain import views
from msgspec import Raw

FIELDS = [
    *("id", "tool", "tool_version", "state", "reason", "dead", "version", "queue", "priority", "parameters", "files"),
    *("attempt", "max_attempts", "progress", "error", "tags", "metadata", "created_at", "run_at", "queued_at"),
    *("started_at", "finished_at", "wait_ms", "run_ms", "worker", "correlation_id", "trace_id", "parent_id"),
    *("origin_id", "workflow_id", "schedule_id", "links"),
]


def test_the_202_has_every_member_in_its_place() -> None:
    job_id = new_id("job")
    body = views.accepted(
        job_id=job_id,
        tool="t",
        tool_version="1",
        queue="q",
        priority=5,
        max_attempts=3,
        created_at="2026-01-01T00:00:00.000Z",
        correlation_id="c",
        trace_id="0" * 32,
        parameters=Raw(b'{"z": 1.50}'),
    )
    job = json.loads(body)
    assert list(job) == FIELDS
    assert (job["state"], job["version"], job["attempt"]) == ("accepted", 0, 0)
    assert b'"parameters":{"z": 1.50}' in body
    assert job["links"]["self"] == f"/v1/jobs/{job_id}"


def test_links_are_added_and_nothing_else_is_touched() -> None:
    job_id = new_id("job")
    told = b'{"id":"%s","parameters":{"n": 10000000000000000000000, "f":1.0}}\n' % job_id.encode()
    shown = views.with_links(told)
    assert shown.startswith(told.rstrip()[:-1])
    assert json.loads(shown)["links"]["events"] == f"/v1/jobs/{job_id}/events"


def test_a_page_keeps_its_count() -> None:
    page = (
        b'{"data":[{"id":"%s"}],"next_cursor":"c","has_more":true,"count":7,"count_capped":false}'
        % new_id("job").encode()
    )
    shown = json.loads(views.page_with_links(page))
    assert (shown["count"], shown["next_cursor"], shown["has_more"]) == (7, "c", True)
    assert "links" in shown["data"][0]
    assert "count" not in json.loads(views.page_with_links(b'{"data":[],"next_cursor":null,"has_more":false}'))


def test_a_job_without_an_id_of_ours_is_not_passed_on() -> None:
    with pytest.raises(ValueError, match="id"):
        views.with_links(b'{"id":"job_\\"><script>"}')


def test_result_files_get_their_address() -> None:
    files = b'[{"file_id":"file_1","name":"a","url":null},{"file_id":"file_2","name":"b"}]'
    told = b'{"job_id":"j","value":1.0,"files":%s}' % files
    shown = views.result_with_urls(told, public_url="http://x")
    assert [row["url"] for row in json.loads(shown)["files"]] == [
        "http://x/v1/files/file_1/content",
        "http://x/v1/files/file_2/content",
    ]
    assert b'"value":1.0' in shown
    empty = b'{"job_id":"j","files":[]}'
    assert views.result_with_urls(empty, public_url="http://x") == empty
