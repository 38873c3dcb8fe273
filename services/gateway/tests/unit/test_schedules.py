"""A schedule is checked like the submits that it stands for, and everything wrong is said at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec
import pytest
from jobyard_common.contracts.jobs import JobSpec
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.http.problems import Problem
from jobyard_common.runtime.clock import SystemClock
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.check_schedule import ScheduleChecker
from jobyard_gateway.handlers.submit_job import Submitter

NONE = cast(Any, None)
SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
GOOD = {"name": "nightly", "template": {"tool": "echo"}, "cron": "0 3 * * *", "timezone": "Europe/Berlin"}


class Missing:
    """Everything exists but a queue that nobody knows."""

    async def missing(self, *, tenant: str, files: Any, jobs: Any, queue: str | None) -> set[str]:
        return {"queue"} if queue else set()


def check(body: bytes, *, new: bool = True) -> dict[str, Any]:
    registry = Registry()
    registry.define(ToolDefinition("echo", "1", "", "", msgspec.Raw(SCHEMA), "default", Isolation.ASYNC, Level.L0, "h"))
    clock = SystemClock()
    submitter = Submitter(
        registry, cast(Any, Missing()), NONE, ledger=NONE, barrier=NONE, id_secret=b"", clock=clock, cell="00"
    )
    found = asyncio.run(ScheduleChecker(submitter, clock=clock).check(body, tenant="t", new=new))
    document: dict[str, Any] = json.loads(found)
    return document


def faults(**members: Any) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        check(json.dumps(GOOD | members).encode())
    assert caught.value.code == "validation_failed"
    return {error.pointer: error.message for error in caught.value.errors}


def test_a_good_one_has_the_specification_of_its_jobs_and_keeps_its_template_byte_true() -> None:
    body = b'{"name":"n","cron":"@daily","template":{"tool":"echo", "parameters":{"n": 10000000000000000000001}}}'
    found = check(body)
    spec = msgspec.json.decode(json.dumps(found["spec"]), type=JobSpec)
    assert (spec.tool, spec.tool_version, bytes(spec.parameters)) == ("echo", "1", b'{"n": 10000000000000000000001}')
    assert found["timezone"] == "UTC"
    assert found["template"]["parameters"] == {"n": 10000000000000000000001}


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"cron": "0 0 31 2 *"}, "/cron"),
        ({"cron": "* * *"}, "/cron"),
        ({"cron": ""}, "/cron"),
        ({"cron": 5}, "/cron"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"timezone": "../../etc/passwd"}, "/timezone"),
        ({"cron": None, "interval_s": 60}, "/timezone"),
        ({"interval_s": 60}, "/interval_s"),
        ({"cron": None, "timezone": None}, ""),
        ({"cron": None, "timezone": None, "interval_s": 0.5}, "/interval_s"),
        ({"cron": None, "timezone": None, "at": "2020-01-01T00:00:00Z"}, "/at"),
        ({"cron": None, "timezone": None, "at": "2099-01-01T00:00:00Z"}, "/at"),
        ({"starts_at": "2027-01-02T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z"}, "/ends_at"),
        ({"starts_at": "2027-01-02T00:00:00"}, "/starts_at"),
        ({"overlap": "maybe"}, "/overlap"),
        ({"catch_up": "some"}, "/catch_up"),
        ({"jitter_s": -1}, "/jitter_s"),
        ({"name": ""}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"surprise": 1}, "/surprise"),
        ({"template": []}, "/template"),
        ({"template": {}}, "/template/tool"),
        ({"template": {"tool": "nothing"}}, "/template/tool"),
        ({"template": {"tool": "echo", "parameters": {"n": "x"}}}, "/template/parameters/n"),
        ({"template": {"tool": "echo", "parameters": {"m": 1}}}, "/template/parameters/m"),
        ({"template": {"tool": "echo", "run_at": "2027-01-01T00:00:00Z"}}, "/template/run_at"),
        ({"template": {"tool": "echo", "delay_s": 5}}, "/template/delay_s"),
        ({"template": {"tool": "echo", "depends_on": ["job_x"]}}, "/template/depends_on"),
        ({"template": {"tool": "echo", "queue": "unknown"}}, "/template/queue"),
        ({"template": {"tool": "echo", "more": 1}}, "/template/more"),
    ],
)
def test_what_is_wrong_has_its_pointer(members: dict[str, Any], pointer: str) -> None:
    assert pointer in faults(**members)


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = faults(cron="61 * * * *", timezone="X", overlap=1, template={"tool": "echo", "priority": 11})
    assert set(found) == {"/cron", "/timezone", "/overlap", "/template/priority"}


def test_a_past_moment_may_stay_in_a_schedule_that_exists() -> None:
    body = {"name": "once", "template": {"tool": "echo"}, "at": "2020-01-01T00:00:00Z"}
    assert check(json.dumps(body).encode(), new=False)["at"] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"name":"a","name":"b"}', b"\xff", b'{"template":' + b"[" * 100])
def test_hostile_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        check(body)
    assert caught.value.code in ("malformed_json", "validation_failed")
