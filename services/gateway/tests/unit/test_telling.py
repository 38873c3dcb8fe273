"""What may be said of a job, by who has said what."""

from __future__ import annotations

import itertools

import pytest
from jobyard_gateway.domain.telling import Tell, Word, tell

YES, NO, SILENT, UNASKED = Word


@pytest.mark.parametrize(
    ("executor", "promises", "behind", "want"),
    [
        (UNASKED, UNASKED, UNASKED, Tell.ASK),
        (YES, UNASKED, UNASKED, Tell.SHOW),
        (NO, UNASKED, UNASKED, Tell.ASK_PROMISES),
        (SILENT, UNASKED, UNASKED, Tell.ASK_PROMISES),
        (NO, YES, UNASKED, Tell.PROMISED),
        (SILENT, YES, UNASKED, Tell.PROMISED),
        (SILENT, NO, UNASKED, Tell.UNSURE),
        (NO, SILENT, UNASKED, Tell.UNSURE),
        (NO, NO, UNASKED, Tell.ASK_BEHIND),
        (NO, NO, SILENT, Tell.UNSURE),
        (NO, NO, YES, Tell.SHOW),
        (NO, NO, NO, Tell.ABSENT),
    ],
)
def test_who_is_asked_and_what_is_said(executor: Word, promises: Word, behind: Word, want: Tell) -> None:
    assert tell(executor=executor, promises=promises, behind=behind) is want


def test_absent_is_said_only_when_everybody_said_no() -> None:
    for words in itertools.product(Word, repeat=3):
        found = tell(executor=words[0], promises=words[1], behind=words[2])
        assert (found is Tell.ABSENT) == (words == (NO, NO, NO))
