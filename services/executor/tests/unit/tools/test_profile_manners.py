"""table.profile against what is no table, while it runs, and what it leaves behind."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobyard.author import Cancelled, ToolError
from jobyard.author.errors import CANCEL
from jobyard.author.testing import Trial
from jobyard_executor.tools.tables.profile import VALUE_TARGET

from .tables import Profiled, table, written


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
