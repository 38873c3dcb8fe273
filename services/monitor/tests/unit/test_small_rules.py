"""Partitions, fingerprints, cursors, severities, sums, text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_monitor.domain import cursor
from jobyard_monitor.domain.fingerprint import exception_type, fingerprint, frames
from jobyard_monitor.domain.partitions import Partition, parse, plan
from jobyard_monitor.domain.severity import severity_of
from jobyard_monitor.domain.stats import Finished, summarise
from jobyard_monitor.domain.text import json_text, storable

NOW = datetime(2030, 3, 1, 12, tzinfo=UTC)
TRACEBACK = """Traceback (most recent call last):
  File "/a/b/main.py", line {line}, in serve
    await work()
  File "/a/b/work.py", line 7, in work
    raise ValueError({text!r})
{kind}: {text}
"""


def test_the_days_around_now_get_partitions() -> None:
    found = plan("job_log", existing=["job_log_default"], now=NOW, keep=timedelta(days=7), ahead=2)
    assert [row.name for row in found.create] == [f"job_log_{day}" for day in (20300228, 20300301, 20300302, 20300303)]
    assert found.drop == ()


def test_a_day_goes_once_it_ended_longer_ago_than_is_kept() -> None:
    existing = ["job_log_20300221", "job_log_20300222", "timeline_20200101", "job_log_2030022", "job_log_20309999"]
    found = plan("job_log", existing=existing, now=NOW, keep=timedelta(days=7), ahead=0)
    assert [row.name for row in found.drop] == ["job_log_20300221"]


def test_nothing_is_made_that_would_go_at_once() -> None:
    found = plan("job_log", existing=[], now=NOW, keep=timedelta(0), ahead=0)
    assert [row.name for row in found.create] == ["job_log_20300301"]


def test_names_and_bounds_of_a_partition() -> None:
    found = parse("service_log_20300228")
    assert found == Partition("service_log", datetime(2030, 2, 28, tzinfo=UTC).date())
    assert found.ends == datetime(2030, 3, 1, tzinfo=UTC)
    assert parse("service_log_default") is None


def test_an_error_is_known_again_on_another_line_with_another_text() -> None:
    def of(kind: str, line: int, text: str) -> str:
        return fingerprint(
            service="s", logger="l", event="e", exception=TRACEBACK.format(kind=kind, line=line, text=text)
        )

    assert of("ValueError", 3, "a") == of("ValueError", 4, "b")
    assert of("ValueError", 3, "a") != of("KeyError", 3, "a")


def test_without_a_traceback_the_constant_name_decides() -> None:
    def of(event: str) -> str:
        return fingerprint(service="s", logger="l", event=event, exception=None)

    assert of("a") == of("a") != of("b")


def test_parts_of_a_traceback() -> None:
    text = TRACEBACK.format(kind="pkg.Odd", line=1, text="x")
    assert exception_type(text) == "pkg.Odd"
    assert frames(text) == ["main.py:serve", "work.py:work"]
    assert exception_type(None) is None
    assert exception_type("   ") is None


@pytest.mark.parametrize(("level", "number"), [("info", 9), ("WARNING", 13), ("critical", 21), ("odd", 9), ("", 9)])
def test_severities(level: str, number: int) -> None:
    assert severity_of(level) == number


def test_a_cursor_comes_back_as_it_was() -> None:
    packed = cursor.pack("logs", NOW, 2, 3)
    assert cursor.unpack(packed, "logs", tuple[str, datetime, int, int]) == ("logs", NOW, 2, 3)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(cursor.CursorInvalid):
        cursor.unpack(cursor.pack("audit", 1), "logs", tuple[str, int])


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_rubbish_is_never_a_cursor(text: str) -> None:
    with pytest.raises(cursor.CursorInvalid):
        cursor.unpack(text, "logs", tuple[str, int])


def test_sums_over_tools() -> None:
    found = summarise(
        [("a", "running", 2), ("b", "queued", 1)],
        [
            Finished("a", "succeeded", 6, (10.0, 20.0), (1.0, 2.0)),
            Finished("a", "failed", 2, (5.0, 5.0), (1.0, 2.0)),
            Finished("a", "cancelled", 9, (None, None), (None, None)),
            Finished(None, None, 17, (9.0, 19.0), (1.0, 2.0)),
        ],
    )
    assert found.states == {"cancelled": 9, "failed": 2, "queued": 1, "running": 2, "succeeded": 6}
    assert found.success_rate == 0.75
    assert found.run_ms == (9.0, 19.0)
    assert found.tools["a"].states == {"running": 2, "succeeded": 6, "failed": 2, "cancelled": 9}


def test_no_rate_without_an_end() -> None:
    assert summarise([("a", "running", 2)], []).success_rate is None


def test_text_is_made_storable() -> None:
    assert storable("a\x00b", limit=10) == "a\N{REPLACEMENT CHARACTER}b"
    assert storable("abcdef", limit=4) == "abc…"
    assert storable(None, limit=4) is None
    assert [json_text(raw) for raw in (None, msgspec.Raw(b"null"), msgspec.Raw(b'{"a":1}'))] == [None, None, '{"a":1}']
