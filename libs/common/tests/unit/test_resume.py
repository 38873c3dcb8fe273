"""Where a consumer goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    assert goes_on(held=(5, b"a"), stored=(5, b"a")) and not goes_on(held=(5, b"a"), stored=(6, b"b"))
    assert not goes_on(held=(5, b"a"), stored=(4, b"z"))
    assert not goes_on(held=(5, b"a"), stored=(5, b"b")), "the same number behind another record"
