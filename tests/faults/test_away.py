"""Servers that are away without being dead: frozen, so that connections stay open and nothing answers."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.faults.test_kill_each import healed
from tests.support.processes import tree
from tests.support.yard import Yard, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


@contextlib.contextmanager
def frozen(yard: Yard, *names: str) -> Iterator[None]:
    """The servers stand still, with all their processes, and go on afterwards."""
    pids = [pid for name in names for pid in tree(yard.stack.pids()[name])]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        until(lambda: healed(yard), what="a healthy stack", timeout_s=60)


def test_without_valkey_every_answer_is_right(yard: Yard) -> None:
    with frozen(yard, "valkey"):
        key = {"Idempotency-Key": secrets.token_hex(8)}
        first = yard.submit("test.echo", {"value": 1}, headers=key)
        again = yard.submit("test.echo", {"value": 1}, headers=key)
        other = yard.http.post("/v1/jobs", json={"tool": "test.echo", "parameters": {"value": 2}}, headers=key)
        assert again["id"] == first["id"]
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
        assert yard.until_state(first["id"], "succeeded")["attempt"] == 1
        assert yard.job(yard.submit("test.noop")["id"])["tool"] == "test.noop"


def test_without_kafka_a_submit_is_spooled_and_runs_later(yard: Yard) -> None:
    with frozen(yard, "kafka"):
        key = {"Idempotency-Key": secrets.token_hex(8)}
        job = yard.submit("test.echo", {"value": 7}, headers=key)
        assert yard.job(job["id"])["state"] == "accepted"
        assert yard.submit("test.echo", {"value": 7}, headers=key)["id"] == job["id"]
    yard.until_state(job["id"], "succeeded", timeout_s=60)
    assert yard.get(f"/v1/jobs/{job['id']}/result")["value"] == 7
    starts = [row for row in yard.get(f"/v1/jobs/{job['id']}/events")["data"] if row["state"] == "running"]
    assert len(starts) == 1


def test_without_kafka_and_postgres_nothing_is_promised(yard: Yard) -> None:
    with frozen(yard, "kafka", "postgres"):
        answer = yard.http.post("/v1/jobs", json={"tool": "test.noop"}, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"] and answer.json()["retryable"] is True


def test_with_the_executor_frozen_submits_are_accepted_and_readable(yard: Yard) -> None:
    with frozen(yard, "executor"):
        job = yard.submit("test.noop")
        shown = yard.http.get(f"/v1/jobs/{job['id']}", timeout=20)
        assert shown.status_code == 200 and shown.json()["state"] == "accepted", shown.text
    yard.until_state(job["id"], "succeeded", timeout_s=60)
