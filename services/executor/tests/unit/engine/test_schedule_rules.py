"""Which fires are due, and what an unfinished job means for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobyard_common.contracts.schedules import CatchUp, Overlap
from jobyard_executor.domain.schedule import (
    MAX_CATCH_UP,
    MAX_VISIT,
    MAX_WAITING,
    FireOutcome,
    Schedule,
    due,
    judge,
    preview,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def schedule(**members: Any) -> Schedule:
    plain: dict[str, Any] = dict.fromkeys(Schedule.__struct_fields__)
    plain |= {
        "id": "sch_1", "tenant": "t", "overlap": Overlap.ALLOW, "catch_up": CatchUp.LAST, "jitter_s": 0.0,
        "paused": False, "anchor": NOON, "secret": b"s", "next_at": NOON, "waiting": False,
    }  # fmt: skip
    return Schedule(**(plain | {"cron": "0 * * * *"} | members))


def test_a_fire_in_time_fires_under_every_rule() -> None:
    for rule in CatchUp:
        found = due(schedule(catch_up=rule), now=NOON + timedelta(seconds=30))
        assert (found.fires, found.missed, found.next_at) == ([NOON], None, NOON + HOUR)


def test_what_was_missed_follows_catch_up() -> None:
    now = NOON + 5 * HOUR + timedelta(minutes=30)
    none, last, every = (due(schedule(catch_up=rule), now=now) for rule in CatchUp)
    assert (none.fires, none.missed) == ([], (NOON, NOON + 5 * HOUR))
    assert (last.fires, last.missed) == ([NOON + 5 * HOUR], (NOON, NOON + 5 * HOUR - timedelta(microseconds=1)))
    assert (every.fires, every.missed) == ([NOON + n * HOUR for n in range(6)], None)
    assert {found.next_at for found in (none, last, every)} == {NOON + 6 * HOUR}


def test_catching_up_is_bounded_and_comes_in_visits() -> None:
    one = schedule(cron=None, interval_s=1.0, catch_up=CatchUp.ALL)
    now, fired, first = NOON + timedelta(days=1), [], None
    while one.next_at is not None and one.next_at <= now:
        found = due(one, now=now)
        first = first or found.missed
        assert len(found.fires) <= MAX_VISIT
        fired += found.fires
        one.next_at = found.next_at
    assert fired == [now - timedelta(seconds=n) for n in reversed(range(MAX_CATCH_UP))]
    assert first is not None
    assert first[0] == NOON


def test_the_end_is_exclusive_and_ends_the_schedule() -> None:
    found = due(schedule(ends_at=NOON + HOUR, catch_up=CatchUp.ALL), now=NOON + 5 * HOUR)
    assert (found.fires, found.next_at) == ([NOON], None)
    assert preview(schedule(ends_at=NOON + 2 * HOUR), now=NOON, count=5) == [NOON, NOON + HOUR]
    assert preview(schedule(paused=True), now=NOON, count=5) == []


@pytest.mark.parametrize(
    ("overlap", "unfinished", "outcomes"),
    [
        (Overlap.ALLOW, True, ["started", "started"]),
        (Overlap.SKIP, True, ["skipped", "skipped"]),
        (Overlap.SKIP, False, ["started", "skipped"]),
        (Overlap.QUEUE, True, ["waiting", "waiting"]),
        (Overlap.QUEUE, False, ["started", "waiting"]),
        (Overlap.REPLACE, True, ["skipped", "started"]),
        (Overlap.REPLACE, False, ["skipped", "started"]),
    ],
)
def test_overlap(overlap: Overlap, unfinished: bool, outcomes: list[str]) -> None:
    found = judge(overlap, [NOON, NOON + HOUR], unfinished=unfinished, waiting=0)
    assert [verdict.outcome for verdict in found] == outcomes
    assert any(verdict.replaces for verdict in found) == (overlap is Overlap.REPLACE and unfinished)


@settings(deadline=None)
@given(st.sampled_from(list(Overlap)), st.integers(0, 5), st.booleans(), st.integers(0, MAX_WAITING + 5))
def test_every_fire_gets_one_verdict(overlap: Overlap, count: int, unfinished: bool, waiting: int) -> None:
    found = judge(overlap, [NOON] * count, unfinished=unfinished, waiting=waiting)
    assert len(found) == count
    started = sum(verdict.outcome is FireOutcome.STARTED for verdict in found)
    assert started <= (count if overlap is Overlap.ALLOW else 1)
    if overlap is Overlap.QUEUE:
        assert waiting + sum(verdict.outcome is FireOutcome.WAITING for verdict in found) <= max(waiting, MAX_WAITING)


def test_the_job_of_a_fire_is_the_same_for_every_replica() -> None:
    one, other = schedule(), schedule(secret=b"another")
    assert one.job_id(NOON, cell="00") == schedule().job_id(NOON, cell="00")
    assert one.job_id(NOON, cell="00") != one.job_id(NOON + HOUR, cell="00")
    assert one.job_id(NOON, cell="00") != other.job_id(NOON, cell="00")
    assert one.job_id(NOON, cell="00")[6] == "7"
