"""Cron, intervals and single moments, above all where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobyard_common.runtime.recurrence import Cron, Every, NotACron, Once, UnknownZone, cron, following, newest

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(expression: str, *, since: str, count: int, zone: str = BERLIN) -> list[str]:
    found = islice(cron(expression, zone=zone).after(at(since)), count)
    return [moment.strftime("%m-%d %H:%M") for moment in found]


def test_a_fixed_time_in_the_gap_fires_once_right_after_it() -> None:
    # Clocks go from 02:00 to 03:00 on 29 March 2026, which is 01:00 UTC.
    assert fires("30 2 * * *", since="2026-03-27T12:00", count=3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_two_entries_that_the_gap_sends_to_one_moment_fire_once() -> None:
    assert fires("0 2,3 * * *", since="2026-03-28T12:00", count=3) == ["03-29 01:00", "03-30 00:00", "03-30 01:00"]


def test_a_fixed_time_in_the_overlap_fires_the_first_time_only() -> None:
    # Clocks go from 03:00 back to 02:00 on 25 October 2026, which is 01:00 UTC.
    assert fires("30 2 * * *", since="2026-10-24T12:00", count=2) == ["10-25 00:30", "10-26 01:30"]


def test_no_moment_lies_before_the_one_asked_from_within_the_overlap() -> None:
    assert fires("30 2 * * *", since="2026-10-25T01:10", count=1) == ["10-26 01:30"]


def test_a_wildcard_follows_elapsed_time_through_gap_and_overlap() -> None:
    assert fires("30 * * * *", since="2026-03-29T00:00", count=3) == ["03-29 00:30", "03-29 01:30", "03-29 02:30"]
    assert fires("30 * * * *", since="2026-10-25T00:00", count=3) == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]


def test_a_day_has_the_local_length() -> None:
    days = cron("0 0 * * *", zone=BERLIN).after(at("2026-03-28T12:00"))
    first, second = islice(days, 2)
    assert second - first == timedelta(hours=23)


@pytest.mark.parametrize(
    "text",
    ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *", "60 * * * *", "* * * *", "* * * * * *", "@reboot", "",
     "a b c d e", "*/0 * * * *", "5-1 * * * *", "0 0 * * 8", "\u0663 * * * *", "0 0 * * MON#6", "1" * 300 + " * * * *"],
)  # fmt: skip
def test_what_is_no_cron_is_refused(text: str) -> None:
    with pytest.raises(NotACron):
        cron(text, zone="UTC")


@pytest.mark.parametrize("text", ["@daily", "@HOURLY", "0 9 * * mon-fri", "0 0 L * *", "0 0 29 2 *", "*/5 * * * *"])
def test_what_is_cron_is_taken(text: str) -> None:
    assert following(cron(text, zone="UTC"), at("2026-01-01T00:00")) is not None


@pytest.mark.parametrize("name", ["Mars/Olympus", "../UTC", "/etc/passwd", "", "Europe/berlin\0"])
def test_a_zone_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(UnknownZone):
        cron("@daily", zone=name)


def test_an_interval_keeps_its_phase() -> None:
    every = Every(timedelta(seconds=90), at("2026-01-01T00:00"))
    assert following(every, at("2025-12-01T00:00")) == at("2026-01-01T00:00")
    assert following(every, at("2026-01-01T00:00")) == at("2026-01-01T00:01:30")
    assert following(every, at("2026-01-01T00:04")) == at("2026-01-01T00:04:30")


def test_one_moment_comes_once() -> None:
    once = Once(at("2026-01-01T00:00"))
    assert following(once, at("2025-12-31T23:59")) == once.at
    assert following(once, once.at) is None
    assert newest(once, since=at("2025-01-01T00:00"), until=at("2027-01-01T00:00"), most=5) == ([once.at], False)


def test_ten_years_of_minutes_are_not_walked() -> None:
    recurrence = cron("* * * * *", zone=BERLIN)
    until = at("2036-01-01T00:00")
    found, more = newest(recurrence, since=at("2026-01-01T00:00"), until=until, most=3)
    assert (found, more) == ([until - timedelta(minutes=n) for n in (2, 1, 0)], True)


EXPRESSIONS = ["30 2 * * *", "0 2,3 * * *", "*/20 * * * *", "15 1-3 * * *", "0 0 * * mon", "0 12 1 * *"]
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


@settings(deadline=None)
@given(st.sampled_from(EXPRESSIONS), MOMENTS, st.integers(0, 400), st.integers(1, 9))
def test_the_newest_are_those_that_a_walk_finds(expression: str, since: datetime, hours: int, most: int) -> None:
    recurrence = cron(expression, zone=BERLIN)
    until = since + timedelta(hours=hours)
    walked = []
    for moment in recurrence.after(since - timedelta(microseconds=1)):
        if moment > until:
            break
        walked.append(moment)
    assert newest(recurrence, since=since, until=until, most=most) == (walked[-most:], len(walked) > most)


@settings(deadline=None)
@given(MOMENTS, st.integers(1, 10**6), st.integers(0, 10**7), st.integers(1, 9))
def test_the_newest_of_an_interval(anchor: datetime, seconds: int, later: int, most: int) -> None:
    every = Every(timedelta(seconds=seconds), anchor)
    until = anchor + timedelta(seconds=later)
    found, more = newest(every, since=anchor, until=until, most=most)
    count = later // seconds + 1
    assert len(found) == min(count, most)
    assert more == (count > most)
    assert found[-1] == anchor + (count - 1) * timedelta(seconds=seconds)


def test_a_cron_is_a_value() -> None:
    assert cron("@daily", zone="UTC") == Cron("0 0 * * *", cron("@daily", zone="UTC").zone)
