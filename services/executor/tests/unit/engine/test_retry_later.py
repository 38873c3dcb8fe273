"""When a failed attempt is repeated: pauses that tools ask for, codes that end it, and the budget."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from jobyard_common.contracts.jobs import Backoff, Retry
from jobyard_executor.domain.retry import LONGEST_ASKED_S, pause_before_next

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLAIN = Retry(max_attempts=5, backoff=Backoff.FIXED, base_s=7.0, jitter=0.0)


def pause(
    retry: Retry = PLAIN,
    *,
    failures: int = 1,
    code: str = "x",
    retryable: bool = True,
    asked_s: float | None = None,
    age_s: float = 0.0,
) -> float | None:
    found = pause_before_next(
        retry,
        failures=failures,
        code=code,
        retryable=retryable,
        first_queued_at=NOW - timedelta(seconds=age_s),
        now=NOW,
        dice=random.Random(1),
        asked_s=asked_s,
    )
    return None if found is None else found.total_seconds()


@pytest.mark.parametrize(
    ("asked_s", "waits"), [(None, 7.0), (0.0, 0.0), (2.5, 2.5), (600.0, 600.0), (10 * 86_400.0, LONGEST_ASKED_S)]
)
def test_the_tool_s_own_pause_takes_the_place_of_ours(asked_s: float | None, waits: float) -> None:
    assert pause(asked_s=asked_s) == waits


def test_asking_buys_no_further_attempt_and_no_forbidden_one() -> None:
    assert pause(failures=5, asked_s=1.0) is None
    assert pause(retryable=False, asked_s=1.0) is None
    assert pause(Retry(max_attempts=5, non_retryable=("quota",)), code="quota", asked_s=1.0) is None
    assert pause(Retry(max_attempts=5, non_retryable=("quota",), jitter=0.0), code="other") == 1.0


def test_the_budget_ends_at_the_next_start() -> None:
    within = Retry(max_attempts=99, backoff=Backoff.FIXED, base_s=10.0, jitter=0.0, budget_s=100.0)
    assert pause(within, failures=9, age_s=90.0) == 10.0
    assert pause(within, failures=9, age_s=90.1) is None
    assert pause(within, asked_s=100.0) == 100.0
    assert pause(within, asked_s=101.0) is None
