"""`--dedupe`, `--dedupe-for` and `--fresh` as they reach the submit."""

from __future__ import annotations

from typing import Any

import pytest
from jobyard.cli.codes import UsageError
from jobyard.cli.commands.run import _dedupe


@pytest.mark.parametrize(
    ("text", "lasting", "found"),
    [
        ("report-7", None, {"key": "report-7", "mode": "while_active", "ttl_s": None}),
        ("ttl:report-7", "5m", {"key": "report-7", "mode": "ttl", "ttl_s": 300.0}),
        ("debounce:a:b", "1.5", {"key": "a:b", "mode": "debounce", "ttl_s": 1.5}),
        ("urn:a:b", None, {"key": "urn:a:b", "mode": "while_active", "ttl_s": None}),
        (None, None, None),
    ],
)
def test_mode_and_key_are_told_apart(text: str | None, lasting: str | None, found: dict[str, Any] | None) -> None:
    assert _dedupe(text, lasting) == found


def test_a_time_without_a_key_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="--dedupe-for"):
        _dedupe(None, "5m")


def test_a_time_that_is_none_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="--dedupe-for"):
        _dedupe("k", "soon")
