"""The printed profile: what a person checks is there, in figures that are exact."""

from __future__ import annotations

from jobyard_local.summary import number, profile, size


def test_the_profile_names_rows_and_figures() -> None:
    value = {
        "format": "csv",
        "rows": 12028,
        "columns": [
            {"name": "delay", "type": "number", "nulls": 12, "distinct": 900, "min": -3, "max": 99.5, "mean": 12.34567},
            {"name": "who", "type": "text", "nulls": 0, "distinct": 200000, "distinct_exact": False},
            {"name": "day", "type": "date", "nulls": 0, "distinct": 2, "min": "2013-01-01", "max": "2013-01-02"},
        ],
    }
    lines = list(profile(value))
    assert lines[0] == "12,028 rows, 3 columns (csv)"
    assert lines[3].split() == ["delay", "number", "12", "900", "-3", "99.5", "12.3457"]
    assert lines[4].split() == ["who", "text", "0", "~200,000"]
    assert lines[5].split() == ["day", "date", "0", "2", "2013-01-01", "2013-01-02"]


def test_figures_are_plain() -> None:
    assert [number(value) for value in (2**70, 3.0, 0.1, -1234567.5, None)] == [
        "1180591620717411303424",
        "3",
        "0.1",
        "-1234567.5",
        "",
    ]
    assert [size(count) for count in (0, 1023, 1024, 2**20, None)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.0 MiB",
        "unknown size",
    ]
