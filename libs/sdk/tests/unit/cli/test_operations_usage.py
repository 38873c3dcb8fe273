"""What nobody should type for schedules, bulk operations and dead letters: exit 2, one sentence, nothing sent."""

from __future__ import annotations

from typing import Any

import pytest
from jobyard.client.testing import FakeYard

CREATE = ["schedules", "create", "n", "test.noop"]
TABLE: list[tuple[list[str], str]] = [
    (CREATE, "one of --cron"),
    ([*CREATE, "--cron", "@daily", "--every", "5m"], "one of --cron"),
    ([*CREATE, "--every", "soon"], "--every"),
    ([*CREATE, "--at", "2030-01-01T00:00:00"], "zone"),
    (["schedules", "edit", "sch_1", "nonsense=1"], "no member nonsense"),
    (["schedules", "backfill", "sch_1", "--since", "yesterday", "--until", "2026-01-01T00:00:00Z"], "--since"),
    (["schedules", "show", ".."], "schedule id"),
    (["bulk", "start", "cancel"], "filter by"),
    (["bulk", "start", "cancel", "job_1", "--tag", "a"], "filter by"),
    (["bulk", "start", "reschedule", "job_1", "--run-at", "soon"], "--run-at"),
    (["bulk", "show", ""], "bulk operation"),
    (["dead-letters", "replay", "..", "-p", "a=1"], "job id"),
    (["dead-letters", "messages", "replay", "jobs.intake.dlt:0:1", "--value", "none"], "no file"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), TABLE, ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_wrong_usage_is_said_and_nothing_is_sent(
    logged_in: FakeYard, call: Any, arguments: list[str], said: str
) -> None:
    outcome = call(*arguments)
    assert outcome.code == 2, outcome
    assert said in outcome.stderr
    assert outcome.stdout == ""
