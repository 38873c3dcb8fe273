"""table.profile against tables whose figures are computed here."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from .tables import TYPES, Profiled, agrees, plain, table, written


@pytest.mark.parametrize(
    ("rows", "seed", "delimiter", "end", "form"),
    [
        (3000, 1, ",", "\n", "csv"),
        (500, 2, "\t", "\n", "tsv"),
        (500, 3, ";", "\r\n", "csv"),
        (40, 4, "|", "\n", "csv"),
    ],
)
def test_separated_values(rows: int, seed: int, delimiter: str, end: str, form: str, profiled: Profiled) -> None:
    columns = table(rows, seed)
    content = written(columns, delimiter=delimiter, end=end)
    value = profiled(content, top=7)
    assert (value["format"], value["rows"], len(value["columns"])) == (form, rows, len(columns))
    for found, (name, values) in zip(value["columns"], columns.items(), strict=True):
        agrees(found, name, values, top=7, kind=TYPES[name])


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_json(form: str, profiled: Profiled) -> None:
    columns = table(800, 6)
    rows = [
        {name: plain(value) for name, value in zip(columns, row, strict=True) if value is not None or name == "void"}
        for row in zip(*columns.values(), strict=True)
    ]
    text = json.dumps(rows, ensure_ascii=False) if form == "json" else "\n".join(map(json.dumps, rows))
    value = profiled(text.encode())
    assert (value["format"], value["rows"]) == (form, 800)
    found = {column["name"]: column for column in value["columns"]}
    assert set(found) == set(columns)
    for name, values in columns.items():
        agrees(found[name], name, values, top=5, kind=TYPES[name])


def test_json_keeps_its_own_types(profiled: Profiled) -> None:
    value = profiled(b'[{"n":"12","m":1,"o":{"k":[1]},"b":"true"},{"n":"3","m":"x","o":null,"b":"false"}]')
    assert [column["type"] for column in value["columns"]] == ["text"] * 4
    assert value["columns"][2]["top"] == [{"value": '{"k":[1]}', "count": 1}]


def test_parquet(profiled: Profiled, tmp_path: Path) -> None:
    columns = table(700, 7)
    (tmp_path / "t.csv").write_bytes(written({name: values for name, values in columns.items() if name != "big"}))
    types = {"whole": "INTEGER", "real": "DOUBLE", "yes": "BOOLEAN", "word": "VARCHAR", "day": "DATE",
             "moment": "TIMESTAMP", "code": "VARCHAR", "void": "INTEGER", "same": "VARCHAR"}  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{tmp_path / 't.csv'}', header=true, auto_detect=false, quote='\"', "
            f"escape='\"', delim=',', columns={types})) TO '{tmp_path / 't.parquet'}' (FORMAT parquet)"
        )
    value = profiled((tmp_path / "t.parquet").read_bytes())
    assert (value["format"], value["rows"]) == ("parquet", 700)
    for found in value["columns"]:
        name = found["name"]
        agrees(found, name, columns[name], top=5, kind=TYPES[name])


def test_parquet_numbers_that_are_none(profiled: Profiled, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT unnest(['nan'::DOUBLE, 'inf'::DOUBLE, 1.5, 2.5]) AS x, 1.25::DECIMAL(9,2) AS d, "
            f"[1, 2] AS l) TO '{tmp_path / 't.parquet'}' (FORMAT parquet)"
        )
    x, d, nested = profiled((tmp_path / "t.parquet").read_bytes())["columns"]
    assert (x["count"], x["nulls"], x["max"]) == (2, 2, 2.5)
    assert (d["type"], d["mean"]) == ("number", 1.25)
    assert (nested["type"], nested["top"][0]["value"]) == ("text", "[1, 2]")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "+3", "0"], "integer"),
        (["1", "2.5", ".5", "1e3", "-1E-2", "7."], "number"),
        (["00123", "1"], "text"),
        (["1", "00.5"], "text"),
        (["1", "1,5"], "text"),
        (["1", " 2"], "text"),
        (["1", "nan"], "text"),
        (["1", "inf"], "text"),
        (["1", "0x1F"], "text"),
        (["1", "1_000"], "text"),
        (["9" * 38], "integer"),
        (["9" * 39], "text"),
        (["1e999"], "text"),
        (["true", "FALSE", "True"], "boolean"),
        (["true", "yes"], "text"),
        (["2024-02-29", "0001-01-01"], "date"),
        (["2024-02-30"], "text"),
        (["2024-2-3"], "text"),
        (["29.02.2024"], "text"),
        (["2024-02-29T10:00", "2024-02-29 10:00:00.5"], "timestamp"),
        (["2024-02-29", "2024-02-29 10:00:00"], "timestamp"),
        (["2024-02-29T10:00:00Z", "2024-02-29T10:00:00+02:00"], "timestamp"),
        (["2024-02-29T10:00:00Z", "2024-02-29T10:00:00"], "text"),
        (["2024-02-29T25:00:00"], "text"),
        (["٣", "1"], "text"),
    ],
)
def test_types(cells: list[str], kind: str, profiled: Profiled) -> None:
    (column,) = profiled(written({"x": cells}))["columns"]
    assert column["type"] == kind


def test_zones_are_brought_to_utc(profiled: Profiled) -> None:
    (column,) = profiled(b"x\n2024-01-01T01:00:00+02:00\n2024-01-01T00:00:00Z\n")["columns"]
    assert (column["min"], column["max"]) == ("2023-12-31T23:00:00Z", "2024-01-01T00:00:00Z")


def test_one_late_exception_changes_the_type(profiled: Profiled) -> None:
    lines = ["x", *["7"] * 60_000, "unknown"]
    (column,) = profiled("\n".join(lines).encode())["columns"]
    assert (column["type"], column["distinct"]) == ("text", 2)


def test_beyond_a_hundred_thousand_distinct_values_it_says_so(profiled: Profiled) -> None:
    def numbers(count: int) -> bytes:
        return ("x\n" + "\n".join(map(str, range(count)))).encode()

    (exact,) = profiled(numbers(100_000))["columns"]
    (beyond,) = profiled(numbers(100_001))["columns"]
    assert exact["distinct"] == 100_000 and "distinct_exact" not in exact
    assert beyond["distinct_exact"] is False


def test_names_are_kept_as_they_are(profiled: Profiled) -> None:
    value = profiled('\ufeffa,a,"x ""y""",,<b>\n1,2,3,4,5\n'.encode())
    assert [column["name"] for column in value["columns"]] == ["a", "a", 'x "y"', "column 4", "<b>"]


def test_a_table_with_one_column(profiled: Profiled) -> None:
    (column,) = profiled(b'n\n1\n""\n3\n')["columns"]
    assert (column["count"], column["nulls"], column["type"]) == (2, 1, "integer")


def test_the_name_breaks_a_tie(profiled: Profiled) -> None:
    content = b"a,x\tb,x\n1,2\t3,4\n"
    assert profiled(content, "data.tsv")["format"] == "tsv"
    assert profiled(content, "data.csv")["columns"][0]["name"] == "a"
