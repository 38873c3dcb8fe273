"""Ctrl-C, on a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobyard.client.testing import FakeYard

# A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from jobyard.cli import entry
entry()
"""


def start(fake: FakeYard, *arguments: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBYARD_")}
    env |= {"JOBYARD_URL": fake.url, "JOBYARD_API_KEY": fake.api_key, "NO_COLOR": "1"}
    program = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_asked(fake: FakeYard, method: str, path: str) -> None:
    deadline = time.monotonic() + 20
    while not fake.requests(method, path):
        assert time.monotonic() < deadline, f"no {method} {path}"
        time.sleep(0.01)


@pytest.mark.parametrize("more", [[], ["--json"], ["--follow"], ["--follow", "--json"]], ids=" ".join)
def test_the_job_goes_on(fake: FakeYard, more: list[str]) -> None:
    process = start(fake, "run", "test.sleep", *more)
    until_asked(fake, "GET", r"/v1/jobs/[^/]+(/events)?")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    (job,) = fake.yard.jobs.values()
    assert f"jobyard jobs watch {job['id']}" in err
    assert "Traceback" not in err
    assert job["state"] == "running"
    documents = [json.loads(line) for line in out.splitlines()]
    assert bool(documents) == ("--json" in more)


def test_in_the_middle_of_the_submit_the_id_is_still_learnt(fake: FakeYard) -> None:
    fake.fail("POST", "/v1/jobs", "slow", after=1)
    process = start(fake, "run", "test.sleep")
    until_asked(fake, "POST", "/v1/jobs")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    (job_id,) = fake.yard.jobs
    assert (process.returncode, job_id in err) == (130, True)


def test_before_the_submit_nothing_was_submitted(fake: FakeYard, own_place: Path) -> None:
    Path("a").write_bytes(b"x" * 1000)
    fake.fail("PATCH", r"/v1/files/[^/]+", "drop", times=10_000)
    process = start(fake, "run", "test.digest", "--file", "a")
    until_asked(fake, "PATCH", r"/v1/files/[^/]+")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "nothing was submitted" in err
    assert fake.yard.jobs == {}


def test_cancelled_meanwhile_is_5(fake: FakeYard) -> None:
    process = start(fake, "run", "test.sleep", "--json")
    until_asked(fake, "GET", r"/v1/jobs/[^/]+")
    (job_id,) = fake.yard.jobs
    fake.yard.end(job_id, "cancelled", reason="user")
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)["state"]) == (5, "cancelled")


def test_a_reader_that_goes_away(fake: FakeYard) -> None:
    process = start(fake, "tools", "list", "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) in (0, 1)
    assert err == ""
