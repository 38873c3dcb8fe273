"""The table that ships with the project is what its note says."""

from __future__ import annotations

import csv
from importlib import resources


def test_the_table_is_large_mixed_and_incomplete() -> None:
    folder = resources.files("jobyard_local") / "data"
    with (folder / "flights.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12028
    assert "12,028" in (folder / "flights.md").read_text()
    assert any(row["dep_time"] == "" for row in rows)
    assert {row["origin"] for row in rows} == {"EWR", "JFK", "LGA"}
    assert all(row["time_hour"].endswith("Z") for row in rows)
