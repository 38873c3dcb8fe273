"""kill -9 of each service and each server, one after another, under a trickle of submits.

Every 202 reaches exactly one terminal state, nothing is recorded twice, and the stack heals by itself.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.stack import OwnStack
from tests.support.yard import TERMINAL, Yard, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(600)]
VICTIMS = ("monitor", "files", "executor", "gateway", "valkey", "postgres", "kafka")


@dataclass
class Trickle:
    """Submits with a key, repeated until they are answered with 202; keeps what was promised."""

    stack: OwnStack
    promised: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Trickle:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        number = 0
        headers = {"Authorization": f"Bearer {self.stack.key}"}
        with httpx.Client(base_url=self.stack.url, headers=headers, timeout=10, trust_env=False) as http:
            while not self._stop.is_set():
                tool = ("test.echo", "test.sleep", "test.noop.process")[number % 3]
                parameters = {"test.echo": {"value": number}, "test.sleep": {"seconds": 0.3}}.get(tool, {})
                if self._submit(http, f"trickle-{id(self)}-{number}", tool, parameters):
                    number += 1
                time.sleep(0.04)

    def _submit(self, http: httpx.Client, key: str, tool: str, parameters: dict[str, object]) -> bool:
        try:
            answer = http.post(
                "/v1/jobs", json={"tool": tool, "parameters": parameters}, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError as error:
            self.refused[type(error).__name__] += 1
            return False
        if answer.status_code == 202:
            self.promised.append(answer.json()["id"])
            return True
        self.refused[str(answer.status_code)] += 1
        assert answer.status_code == 503, answer.text
        return False


def healed(yard: Yard) -> bool:
    try:
        return bool(yard.http.get("/v1/system", timeout=5).json().get("status") == "ok")
    except (httpx.TransportError, ValueError):
        return False


def kill_and_heal(yard: Yard, trickle: Trickle, victim: str) -> None:
    yard.stack.reload()
    old = yard.stack.pids()[victim]
    os.kill(old, signal.SIGKILL)
    until(lambda: yard.stack.reload() and yard.stack.pids()[victim] != old, what=f"a new {victim}")
    until(lambda: healed(yard), what=f"health after the end of {victim}", timeout_s=60)
    before = len(trickle.promised)
    until(lambda: len(trickle.promised) > before + 5, what=f"submits after the end of {victim}", timeout_s=40)


def test_every_202_reaches_exactly_one_end(yard: Yard) -> None:
    until(lambda: healed(yard), what="a healthy stack", timeout_s=30)
    with Trickle(yard.stack) as trickle:
        until(lambda: len(trickle.promised) >= 20, what="a trickle")
        for victim in VICTIMS:
            kill_and_heal(yard, trickle, victim)
    ends = Counter[str]()
    for job_id in trickle.promised:
        ends[yard.until_state(job_id, *TERMINAL, timeout_s=90)["state"]] += 1
        story = yard.get(f"/v1/jobs/{job_id}/events")["data"]
        assert [row["state"] for row in story if row["state"] in TERMINAL] == ["succeeded"], story
    assert len(set(trickle.promised)) == len(trickle.promised)
    assert ends == {"succeeded": len(trickle.promised)}, (ends, trickle.refused)
