"""table.profile against tables whose figures are computed here, and against what is no table."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from jobyard.author import Cancelled, ToolError
from jobyard.author.errors import CANCEL
from jobyard.author.testing import Trial
from jobyard_executor.tools.tables.profile import VALUE_TARGET, profile

WORDS = ("Ærø", "São Tomé", "a, b", 'the "x"', "東京", "two\nlines", "  padded ", "NULL", "0", "x" * 300)
Table = dict[str, list[Any]]
Profiled = Callable[..., dict[str, Any]]


def table(rows: int, seed: int) -> Table:
    dice = random.Random(seed)

    def some(share: float, make: Callable[[], Any]) -> list[Any]:
        return [None if dice.random() < share else make() for _ in range(rows)]

    return {
        "whole": some(0.1, lambda: dice.randrange(-500, 500)),
        "big": some(0, lambda: dice.randrange(10**30)),
        "real": some(0.05, lambda: round(dice.gauss(10, 400), 3)),
        "yes": some(0.3, lambda: dice.random() < 0.2),
        "word": some(0.05, lambda: dice.choice(WORDS)),
        "day": some(0.2, lambda: date(1999, 12, 1) + timedelta(days=dice.randrange(4000))),
        "moment": some(0.2, lambda: datetime(2020, 1, 1, 3, 4, 5) + timedelta(seconds=dice.randrange(10**7))),
        "code": some(0, lambda: f"{dice.randrange(999):06d}"),
        "void": [None] * rows,
        "same": ["same"] * rows,
    }


TYPES = {
    "whole": "integer", "big": "integer", "real": "number", "yes": "boolean", "word": "text", "day": "date",
    "moment": "timestamp", "code": "text", "void": "null", "same": "text",
}  # fmt: skip


def written(columns: Table, *, delimiter: str = ",", end: str = "\n") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(columns)
    writer.writerows(zip(*([_cell(value) for value in column] for column in columns.values()), strict=True))
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return random.choice(("true", "TRUE", "True")) if value else "false"
    return str(plain(value))


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def agrees(found: dict[str, Any], name: str, values: Sequence[Any], *, top: int, kind: str) -> None:
    present = [value for value in values if value is not None]
    assert (found["name"], found["type"]) == (name, kind)
    assert (found["count"], found["nulls"]) == (len(present), len(values) - len(present))
    assert found["distinct"] == len(set(present))
    counts = Counter(map(plain, present))
    assert [entry["count"] for entry in found["top"]] == sorted(counts.values(), reverse=True)[:top]
    assert all(counts[entry["value"]] == entry["count"] for entry in found["top"])
    if kind in ("integer", "number"):
        _numbers_agree(found, sorted(present))
    if kind in ("date", "timestamp"):
        assert (found["min"], found["max"]) == (plain(min(present)), plain(max(present)))


def _numbers_agree(found: dict[str, Any], ordered: Sequence[float]) -> None:
    assert (found["min"], found["max"]) == (ordered[0], ordered[-1])
    assert math.isclose(found["mean"], math.fsum(ordered) / len(ordered), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(found["stddev"], statistics.stdev(map(float, ordered)), rel_tol=1e-6)
    for share in (0.25, 0.5, 0.75):
        last = len(ordered) - 1
        low, high = math.floor((share - 0.01) * last), math.ceil((share + 0.01) * last)
        assert ordered[max(low, 0)] <= found["quantiles"][str(share)] <= ordered[min(high, last)]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Trial]:
    def trial(content: bytes, name: str = "data", **parameters: Any) -> Trial:
        path = tmp_path / name
        path.write_bytes(content)
        return Trial(profile, parameters, folder=tmp_path, files={"data": path})

    return trial


@pytest.fixture
def profiled(make: Callable[..., Trial]) -> Profiled:
    def run(content: bytes, name: str = "data", **parameters: Any) -> dict[str, Any]:
        value = make(content, name, **parameters).run()
        assert isinstance(value, dict)
        return value

    return run


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


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b" \n\n", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"PK\x03\x04rest", "unsupported_format"),
        (b"\x1f\x8b\x08\x00", "unsupported_format"),
        (b"a,b\n1,\x00\n", "unsupported_format"),
        ("a,b\n1,2\n".encode("utf-16"), "unsupported_format"),
        (b"a,b\n1,\xff\n", "encoding"),
        (b"a,b\n" + b"1,2\n" * 200_000 + b"1,\xff\n", "encoding"),
        (b'a,b\n1,2,3\n"unclosed', "row_shape"),
        (b"a,b\n1,2,3\n", "row_shape"),
        (b"a,b\n1\n", "row_shape"),
        (b'a,b\n1,"open\n', "row_shape"),
        (b'a,b\n1,"x"y\n', "row_shape"),
        (b"a,b\n", "no_rows"),
        (b"[]", "no_rows"),
        (b"[{}]", "no_rows"),
        (b"[1, 2]", "not_a_table"),
        (b'[{"a": 1}, 2]', "not_a_table"),
        (b'[{"a": 1}', "not_a_table"),
        (b'[{"a": 1}, {"a": tru}]', "not_a_table"),
        (b'{"a": 1,\n "b": 2}', "not_a_table"),
        (b'{"a": 1}\n{"a": ', "not_a_table"),
        (b"[" * 100_000, "not_a_table"),
        (b'[{"a": ' + b"[" * 100_000, "not_a_table"),
        (b"PAR1 and then nothing", "not_a_table"),
        (b"PAR1" + b"\xff" * 100 + b"PAR1", "not_a_table"),
        (",".join(f"c{n}" for n in range(1001)).encode() + b"\n", "too_many_columns"),
        (b"a,b\n1," + b"x" * (9 * 2**20) + b"\n", "too_large"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_no_table_is_refused_with_a_reason(content: bytes, code: str, make: Callable[..., Trial]) -> None:
    with pytest.raises(ToolError) as caught:
        make(content).run()
    assert (caught.value.code, caught.value.retryable) == (code, False)
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message
    assert "pytest" not in caught.value.message, "no path of the machine"


def test_a_fault_names_its_line(make: Callable[..., Trial]) -> None:
    with pytest.raises(ToolError, match=r"line 4 has 3 fields where the header has 2"):
        make(b"a,b\n1,2\n3,4\n5,6,7\n").run()


def test_after_a_refusal_the_same_process_profiles_the_next(make: Callable[..., Trial], profiled: Profiled) -> None:
    with pytest.raises(ToolError):
        make(b"").run()
    assert profiled(b"a\n1\n")["rows"] == 1


def test_progress_and_log_lines_come_while_it_runs(make: Callable[..., Trial]) -> None:
    trial = make(written(table(200, 8)))
    trial.run()
    done = [step[0] for step in trial.backend.steps]
    assert done == sorted(done) and done[-1] == 100 and len(done) >= 11
    assert [line.message for line in trial.backend.lines] == ["reading", "read", "profiled"]


def test_nothing_is_left_in_the_work_dir(make: Callable[..., Trial], tmp_path: Path) -> None:
    make(b"a\n1\n").run()
    with pytest.raises(ToolError):
        make(b"a,b\n1\n").run()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


@pytest.mark.parametrize("after_s", [0.05, 0.1, 0.2, 0.35, 0.5])
def test_a_cancel_interrupts_whatever_it_does(after_s: float, make: Callable[..., Trial], tmp_path: Path) -> None:
    """While it reads, copies, sorts: the query ends, and nothing hangs behind it."""
    trial = make(("x,y\n" + "".join(f"{n},{n * 7919 % 10007}\n" for n in range(1_500_000))).encode())
    began = time.monotonic()
    threading.Timer(after_s, lambda: setattr(trial.backend, "stop", CANCEL)).start()
    with pytest.raises(Cancelled):
        trial.run()
    assert time.monotonic() - began < 3
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_very_wide_table_still_fits_a_result(make: Callable[..., Trial]) -> None:
    names = [f"column {n}" for n in range(120)]
    rows = [",".join(f"{'value' * 80}{row}" for _ in names) for row in range(20)]
    trial = make("\n".join([",".join(names), *rows]).encode(), top=20)
    value = trial.run()
    assert len(json.dumps(value, ensure_ascii=False).encode()) <= VALUE_TARGET
    assert len(value["columns"]) == 120 and value["top_cut"] < 20
    assert any(line.level == "warning" for line in trial.backend.lines)


def test_a_nul_never_reaches_the_result(make: Callable[..., Trial]) -> None:
    value = make(b'[{"a":"x\\u0000y","b\\u0000":1}]').run()
    assert "\\u0000" not in json.dumps(value)


HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


def test_the_report_needs_nothing_and_runs_nothing(make: Callable[..., Trial]) -> None:
    columns = {**table(300, 9), HOSTILE: [HOSTILE, "\x1b[31m", "x"] * 100}
    trial = make(written(columns))
    trial.run()
    page = trial.outputs["report.html"].decode()
    assert "<html" in page and "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    for forbidden in (
        "<script",
        "<img",
        "http:",
        "https:",
        "url(",
        "@import",
        "javascript:",
        "src=x onerror=y>",
        "\x1b",
    ):
        assert forbidden not in page, forbidden
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == page.count("</svg>") >= len(columns) - 1
    assert len(re.findall(r"<article ", page)) == len(columns)
    assert "href" not in re.sub(r'href="#column-\d+"', "", page)
