"""Where a consumer goes on, and what a relay does next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.messaging.publisher import PublishFailed, Sent
from jobyard_common.messaging.relaying import round_begins, round_ended, sort_answers
from jobyard_common.messaging.resume import Look, Lost, Resume, goes_on, look, resume


@pytest.mark.parametrize(
    ("next_offset", "fingerprint", "begin", "end", "want"),
    [
        (0, None, 0, 0, Resume(0)),
        (0, None, 5, 9, Resume(5)),
        (7, b"x", 0, 9, Resume(6, verify=True)),
        (9, b"x", 0, 9, Resume(8, verify=True)),
        (5, b"x", 5, 9, Resume(5)),
        (3, b"x", 5, 9, Resume(5, expired=2)),
    ],
)
def test_where_to_go_on(next_offset: int, fingerprint: bytes | None, begin: int, end: int, want: Resume) -> None:
    assert resume(next_offset, fingerprint, begin=begin, end=end) == want


def test_a_log_that_ends_before_us_lost_records() -> None:
    found = resume(10, b"x", begin=0, end=9)
    assert isinstance(found, Lost) and "Kafka lost some" in found.why


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from((None, b"a", b"b")), st.sampled_from((b"a", b"b")))
def test_nothing_is_good_but_what_was_asked_for(offset: int, at: int, wanted: bytes | None, found: bytes) -> None:
    verdict = look(offset, found, next_offset=at, wanted=wanted)
    if wanted is None:
        assert verdict is (Look.GOOD if offset >= at else Look.AGAIN)
    elif offset != at - 1:
        assert verdict is Look.AGAIN
    else:
        assert verdict is (Look.GOOD if found == wanted else Look.CHANGED)


def test_a_batch_is_not_repeated_over_commits_that_were_forgotten() -> None:
    assert goes_on(held=5, stored=5) and goes_on(held=5, stored=6)
    assert not goes_on(held=5, stored=4)


def test_a_round_begins_behind_the_last_only_for_rows_of_ones_own() -> None:
    assert round_ended([3, 4], {3, 4, 9}) == 5
    assert round_ended([3, 4], {4}) == 0
    assert round_begins(5, {9}, full=False) == 5
    assert round_begins(5, {2, 9}, full=False) == 2
    assert round_begins(5, {9}, full=True) == 0


def test_only_an_acknowledged_record_is_done() -> None:
    answers = [Sent(0, 1), PublishFailed("too large", permanent=True), PublishFailed("no answer")]
    found = sort_answers([1, 2, 3], answers)
    assert found.done == [1] and found.refused == [(2, "too large")] and len(found.failed) == 1
