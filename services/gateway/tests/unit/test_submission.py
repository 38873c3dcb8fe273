"""The submit: every fault at once, each with its pointer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jobyard_gateway.domain.limits import QueueDocument
from jobyard_gateway.domain.strict_json import parse
from jobyard_gateway.domain.submission import read, shape_faults

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def pointers(**members: Any) -> list[str]:
    body = json.dumps({"tool": "test.echo"} | members).encode()
    _, faults = read(body, parse(body), now=NOW)
    assert all(fault.message for fault in faults)
    return sorted(fault.pointer for fault in faults)


WRONG: dict[str, list[Any]] = {
    "priority": [0, 11, -1, "5", 5.5, True, 10**30, None],
    "parameters": [[], "x", 5, None],
    "delay_s": [-1, "soon", 1e308],
    "run_at": ["tomorrow", "2030-13-01T00:00:00Z", "2030-01-01T00:00:00", 5, "2050-01-01T00:00:00Z"],
    "timeout_s": [-1, 0, "1", 8 * 86_400],
    "ttl_s": [-1, 0, "1"],
    "tags": ["a", [1], ["x" * 129], [""], ["t"] * 51],
    "metadata": [[], "x", {"k" * 65: "v"}, {"k": "v" * 1025}, {str(n): 1 for n in range(51)}],
    "queue": [5, "", "x" * 129, "Upper", "new\n"],
    "files": [[], "file_1", {"data": 5}],
    "depends_on": ["job_1", [5], ["job_0000000000000000"]],
    "retry": [5, [], {"max_attempts": 0}, {"jitter": 2}, {"base_s": -1}, {"backoff": "quadratic"}],
    "dedupe": ["x", {}, {"key": "a", "mode": "ttl"}],
    "concurrency_key": [{}, ""],
    "fairness_key": ["a\0b", "x" * 129],
    "callback_url": ["nonsense", 5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    found = pointers(**{name: value})
    assert found
    assert all(pointer == f"/{name}" or pointer.startswith(f"/{name}/") for pointer in found)


def test_all_faults_come_at_once() -> None:
    found = pointers(
        priority=99, bogus=1, tags=["", "ok"], retry={"attempts": 1, "jitter": 9}, run_at="x", **{"a/b~c": 1}
    )
    assert found == ["/a~1b~0c", "/bogus", "/priority", "/retry/attempts", "/retry/jitter", "/run_at", "/tags/0"]


def test_shape_and_meaning_are_both_told() -> None:
    assert pointers(run_at="2027-01-01T00:00:00Z", delay_s=5) == ["/delay_s"]
    assert pointers(soft_timeout_s=10, timeout_s=5) == ["/soft_timeout_s"]


@pytest.mark.parametrize("body", [b"[]", b'"run"', b"5", b"null", b"true"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    submission, faults = read(body, parse(body), now=NOW)
    assert submission is None
    assert [fault.pointer for fault in faults] == [""]


def test_a_missing_tool_is_named() -> None:
    submission, faults = read(b"{}", {}, now=NOW)
    assert submission is None
    assert [fault.pointer for fault in faults] == ["/tool"]


def test_parameters_and_metadata_stay_byte_true() -> None:
    body = b'{"tool":"t","parameters":{"z": 1.50, "a":[ 1e2 ]},"metadata":{"k":"\\u00e9"}}'
    submission, faults = read(body, parse(body), now=NOW)
    assert not faults and submission is not None
    assert bytes(submission.parameters) == b'{"z": 1.50, "a":[ 1e2 ]}'
    assert bytes(submission.metadata) == b'{"k":"\\u00e9"}'


def test_null_means_not_given() -> None:
    names = ("run_at", "delay_s", "ttl_s", "deadline_at", "timeout_s", "retry", "dedupe", "callback_url", "queue")
    assert pointers(**dict.fromkeys(names)) == []


def test_a_fault_inside_a_member_is_told_at_its_place() -> None:
    tree = {"limits": {"max_waiting": -5}, "weight": 1}
    assert [fault.pointer for fault in shape_faults(tree, QueueDocument, "")] == ["/limits/max_waiting"]
    rate = {"limits": {"rate": {"count": 0, "per_s": 1}}}
    assert [fault.pointer for fault in shape_faults(rate, QueueDocument, "")] == ["/limits/rate/count"]


def test_a_wrong_choice_is_told_the_right_ones() -> None:
    body = b'{"tool":"test.echo","retry":{"backoff":"sometimes"}}'
    _, (fault,) = read(body, parse(body), now=NOW)
    assert (fault.pointer, fault.message) == ("/retry/backoff", "Expected one of fixed, linear, exponential.")
