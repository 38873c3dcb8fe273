from __future__ import annotations

import pytest
from jobyard_common.telemetry.context import TraceContext, new_trace, parse

GOOD = f"00-{'a' * 32}-{'b' * 16}-01"


def test_round_trip_and_flags() -> None:
    assert parse(GOOD) == TraceContext("a" * 32, "b" * 16, True)
    assert parse(GOOD[:-2] + "03") == TraceContext("a" * 32, "b" * 16, True)
    assert parse(GOOD[:-2] + "00") == TraceContext("a" * 32, "b" * 16, False)
    made = new_trace(sampled=True)
    assert parse(made.format()) == made


def test_a_later_version_may_be_longer() -> None:
    assert parse("01" + GOOD[2:] + "-more") is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "rubbish",
        GOOD.upper(),
        GOOD + "-x",
        GOOD.replace("-", "_"),
        "ff" + GOOD[2:],
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"00-{'g' * 32}-{'b' * 16}-01",
        GOOD[:-1],
        "0" * 5000,
    ],
)
def test_what_is_no_context(header: str | None) -> None:
    assert parse(header) is None
