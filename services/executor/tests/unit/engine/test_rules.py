"""Retry pauses, ageing, trust in sessions, packs of output."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import Backoff, Retry
from jobyard_common.contracts.output import MAX_PACK_BYTES
from jobyard_executor.domain.ageing import sort_at
from jobyard_executor.domain.assignment import Output, OutputBatch
from jobyard_executor.domain.progress import last_progress
from jobyard_executor.domain.retry import base_delay_s, pause_before_next
from jobyard_executor.domain.session import LeaseTerms, Watch
from jobyard_executor.inbound.barrier import positions
from jobyard_executor.outbound.output_pump import packs
from jobyard_executor.store.partitions import SPAN, first_id, week_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("backoff", "want"),
    [(Backoff.FIXED, [2, 2, 2]), (Backoff.LINEAR, [2, 4, 6]), (Backoff.EXPONENTIAL, [2, 4, 8])],
)
def test_pauses_follow_the_policy(backoff: Backoff, want: list[float]) -> None:
    retry = Retry(backoff=backoff, base_s=2)
    assert [base_delay_s(retry, failures=n) for n in (1, 2, 3)] == want


def test_pauses_stop_growing_at_the_cap() -> None:
    assert base_delay_s(Retry(base_s=1, cap_s=60), failures=99) == 60


def pause(retry: Retry, *, failures: int = 1, code: str = "x", retryable: bool = True, waited_s: float = 0) -> object:
    return pause_before_next(
        retry,
        failures=failures,
        code=code,
        retryable=retryable,
        first_queued_at=NOW - timedelta(seconds=waited_s),
        now=NOW,
        dice=random.Random(1),
    )


def test_what_ends_the_retries() -> None:
    assert pause(Retry(max_attempts=3, jitter=0), failures=2) == timedelta(seconds=2)
    assert pause(Retry(max_attempts=3), failures=3) is None
    assert pause(Retry(), retryable=False) is None
    assert pause(Retry(non_retryable=("bad",)), code="bad") is None
    assert pause(Retry(budget_s=10, jitter=0), waited_s=9.5) is None
    assert pause(Retry(budget_s=10, jitter=0), waited_s=8.5) == timedelta(seconds=1)


@given(st.floats(0, 1), st.integers(1, 20))
def test_jitter_stays_within_its_share(jitter: float, failures: int) -> None:
    retry = Retry(max_attempts=100, jitter=jitter, cap_s=300)
    found = pause(retry, failures=failures)
    base = base_delay_s(retry, failures=failures)
    assert isinstance(found, timedelta)
    assert base * (1 - jitter) - 1e-5 <= found.total_seconds() <= base * (1 + jitter) + 1e-5


def test_priority_wins_now_and_age_wins_later() -> None:
    urgent, plain = sort_at(NOW, priority=10), sort_at(NOW, priority=5)
    assert urgent < plain
    assert sort_at(NOW - timedelta(hours=1), priority=5) < urgent


def test_a_session_dies_only_by_both_clocks() -> None:
    watch = Watch(timedelta(seconds=30))
    assert not watch.observe("s", beat=1, expired=True, at=0.0)
    assert not watch.observe("s", beat=1, expired=True, at=29.0)
    assert not watch.observe("s", beat=1, expired=False, at=31.0)
    assert watch.observe("s", beat=1, expired=True, at=31.0)


def test_a_beat_or_an_outage_of_ours_begins_the_wait_anew() -> None:
    watch = Watch(timedelta(seconds=30))
    watch.observe("s", beat=1, expired=True, at=0.0)
    assert not watch.observe("s", beat=2, expired=True, at=40.0)
    watch.blind()
    assert not watch.observe("s", beat=2, expired=True, at=90.0)


def test_the_trust_window_lies_between_beat_and_ttl() -> None:
    with pytest.raises(ValueError, match="must hold"):
        LeaseTerms(beat=timedelta(seconds=1), ttl=timedelta(seconds=2), trust=timedelta(seconds=3))


def test_packs_are_bounded_and_keep_every_line_in_order() -> None:
    lines = tuple(Output(10**9 + n, NOW, "stdout", "x" * 9000) for n in range(1, 60))
    made = list(packs(OutputBatch("job_1", "t", 1, 7, lines)))
    assert len(made) > 1
    assert all(len(msgspec.json.encode(pack)) <= MAX_PACK_BYTES for pack in made)
    assert [line.seq for pack in made for line in pack.lines] == [line.seq for line in lines]


def test_the_last_progress_is_shown_with_its_time() -> None:
    fields = [msgspec.Raw(b'{"done":%d,"total":3,"note":"n"}' % n) for n in (1, 2)]
    lines = [Output(n, NOW, "progress", fields=field) for n, field in enumerate(fields, 1)]
    text = last_progress([*lines, Output(3, NOW, "stdout", "line")])
    assert text == '{"done":2,"total":3,"note":"n","at":"2030-01-01T00:00:00.000Z"}'
    assert last_progress([Output(1, NOW, "progress", fields=msgspec.Raw(b"[]"))]) is None


@given(st.datetimes(datetime(2024, 1, 2), datetime(2099, 1, 1), timezones=st.just(UTC)))
def test_ids_of_a_week_lie_between_its_bounds(moment: datetime) -> None:
    week = week_of(moment)
    made = new_id("job", now_ms=int(moment.timestamp() * 1000))
    assert first_id(week, cell="00") <= made < first_id(week + SPAN, cell="00")


def test_positions_of_the_barrier() -> None:
    assert positions("3:10,4:2") == {3: 10, 4: 2}
    assert positions("") == {}
