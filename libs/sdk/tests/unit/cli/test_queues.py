from __future__ import annotations

from typing import Any

import pytest
from jobyard.cli.codes import UsageError
from jobyard.cli.commands.queues import _rate
from jobyard.client.queues import _limit
from jobyard.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "want"),
    [("10/s", (10, 1)), ("100/5m", (100, 300)), ("3/500ms", (3, 0.5)), ("1/d", (1, 86_400)), ("7/1.5h", (7, 5400))],
)
def test_rates_as_people_write_them(text: str, want: tuple[int, float]) -> None:
    rate = _rate(text, None)
    assert rate is not None and (rate["count"], rate["per_s"]) == want
    assert _rate(text, 4) == rate | {"burst": 4}


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/s", "10/", "10/x", "1e3/s", "10/0s", "10/5", "ten/s", "٣/s"])
def test_rates_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError):
        _rate(text, None)


def test_burst_goes_with_a_rate() -> None:
    assert _rate(None, None) is None
    with pytest.raises(UsageError):
        _rate(None, 3)


@pytest.mark.parametrize(
    "words",
    [
        ("queues", "set", "bulk"),
        ("limits", "set", "key:a"),
        ("limits", "set", "key:a", "--rate", "fast"),
        ("limits", "set", "key:a", "--concurrency", "-1"),
        ("queues", "pause"),
        ("workers", "drain"),
    ],
)
def test_wrong_usage_is_told(call: Any, words: tuple[str, ...]) -> None:
    assert call(*words).code == 2


def test_a_key_stays_one_segment_of_the_path() -> None:
    assert _limit("key:a/b~c") == "/v1/limits/key%3Aa~1b~0c"
    with pytest.raises(InvalidArgument):
        _limit("")
