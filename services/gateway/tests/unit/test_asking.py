"""What a submit may ask for beyond one plain job: large parameters, earlier results, silence first."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import PARAMETERS_SLOT
from jobyard_common.contracts.tools import FileSlot, Isolation, Level, ToolDefinition
from jobyard_gateway.domain.canonical import input_hash
from jobyard_gateway.domain.job_spec import job_spec
from jobyard_gateway.domain.strict_json import parse
from jobyard_gateway.domain.submission import Submission, read
from jobyard_gateway.domain.tools import Tool

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FILE = new_id("file")
PLAIN = ToolDefinition(
    name="echo",
    version="1",
    title="",
    description="",
    parameters_schema=msgspec.Raw(b'{"type":"object","required":["value"]}'),
    queue="default",
    isolation=Isolation.ASYNC,
    min_isolation=Level.L0,
    hash="h",
    slots={"data": FileSlot(required=False)},
)
CACHING = msgspec.structs.replace(PLAIN, cache_ttl_s=60.0)


def submission(**members: Any) -> Submission:
    body = json.dumps({"tool": "echo"} | members).encode()
    found, faults = read(body, parse(body), now=NOW)
    assert found is not None and faults == []
    return found


def pointers(**members: Any) -> list[str]:
    body = json.dumps({"tool": "echo"} | members).encode()
    return [fault.pointer for fault in read(body, parse(body), now=NOW)[1]]


def test_a_debounced_job_starts_after_its_silence_and_never_before_it_was_asked_to() -> None:
    quiet = {"dedupe": {"key": "k", "mode": "debounce", "ttl_s": 30}}
    assert job_spec(submission(**quiet), PLAIN, now=NOW).run_at == NOW + timedelta(seconds=30)
    late = submission(**quiet, delay_s=90)
    assert job_spec(late, PLAIN, now=NOW).run_at == NOW + timedelta(seconds=90)
    plain = submission(dedupe={"key": "k", "mode": "ttl", "ttl_s": 30})
    assert job_spec(plain, PLAIN, now=NOW).run_at is None
    assert pointers(dedupe={"key": "k", "mode": "debounce"}) == ["/dedupe/ttl_s"]


def test_an_earlier_result_may_answer_only_where_the_tool_says_so() -> None:
    plain, fresh = submission(), submission(use_cache=False)
    assert job_spec(plain, PLAIN, now=NOW, input_hash="a").cache is None
    assert job_spec(plain, CACHING, now=NOW, input_hash=None).cache is None
    kept = job_spec(plain, CACHING, now=NOW, input_hash="a").cache
    assert kept is not None and (kept.key, kept.ttl_s, kept.read) == ("a", 60.0, True)
    again = job_spec(fresh, CACHING, now=NOW, input_hash="a").cache
    assert again is not None and not again.read
    assert pointers(use_cache="no") == ["/use_cache"]


def test_the_same_input_is_known_whatever_its_spelling() -> None:
    base = input_hash("echo", "1", {"a": 1, "b": [1.0, "é"]}, {"data": "ab"})
    assert base == input_hash("echo", "1", json.loads('{"b": [1, "\\u00e9"], "a": 1.0}'), {"data": "ab"})
    others = [
        input_hash("echo", "2", {"a": 1, "b": [1.0, "é"]}, {"data": "ab"}),
        input_hash("echo", "1", {"a": 2, "b": [1.0, "é"]}, {"data": "ab"}),
        input_hash("echo", "1", {"a": 1, "b": [1.0, "é"]}, {"data": "ac"}),
        input_hash("echo", "1", {"a": 1, "b": [1.0, "é"]}, {"other": "ab"}),
        input_hash("echo", "1", {"a": 10**30, "b": [1.0, "é"]}, {"data": "ab"}),
    ]
    assert len({base, *others}) == 6


def test_parameters_come_from_the_body_or_from_a_file() -> None:
    tool = Tool(PLAIN)
    assert tool.slot_faults({PARAMETERS_SLOT: FILE}) == []
    assert [fault.pointer for fault in tool.slot_faults({PARAMETERS_SLOT: "nonsense"})] == [f"/files/{PARAMETERS_SLOT}"]
    assert pointers(files={PARAMETERS_SLOT: FILE}, parameters={"value": 1}) == ["/parameters"]
    assert pointers(files={PARAMETERS_SLOT: FILE}, parameters={}) == []
    assert job_spec(submission(files={PARAMETERS_SLOT: FILE}), PLAIN, now=NOW).files == {PARAMETERS_SLOT: FILE}
