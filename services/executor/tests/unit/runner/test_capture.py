from __future__ import annotations

import json

import pytest
from jobyard_executor.worker import capture as module
from jobyard_executor.worker.capture import LIMIT_REACHED, Capture, encode_fields, encode_progress


def test_numbers_have_no_gap_over_all_streams() -> None:
    capture = Capture()
    capture.printed("stdout", b"a\nb\n")
    capture.said("log", "entry", level="info", fields=None)
    capture.moved(encode_progress(1, 2, None))
    capture.printed("stderr", b"open")
    capture.end()
    lines = capture.take()
    assert [line.n for line in lines] == [1, 2, 3, 4, 5]
    assert [line.stream for line in lines] == ["stdout", "stdout", "log", "progress", "stderr"]
    assert capture.copies() == ("a\nb\n", "open", False)


def test_one_line_says_that_the_rest_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 3)
    capture = Capture()
    capture.printed("stdout", b"1\n2\n3\n4\n5\n")
    capture.said("log", "more", level="info", fields=None)
    capture.end()
    lines = capture.take()
    assert [line.message for line in lines] == ["1", "2", "3", LIMIT_REACHED]
    assert capture.copies()[0] == "1\n2\n3\n4\n5\n"


def test_bytes_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    capture = Capture()
    capture.printed("stdout", b"123456\n123456\n1\n")
    assert [line.message for line in capture.take()] == ["123456", LIMIT_REACHED]


def test_progress_is_thinned_but_the_last_one_always_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    capture = Capture()
    for done in range(1, 50):
        capture.moved(encode_progress(done, 50, None))
    assert [json.loads(line.fields or b"")["done"] for line in capture.take()] == [1]
    assert capture.waiting
    now += 0.6
    capture.due()
    capture.moved(encode_progress(50, 50, "end"))
    capture.end()
    assert [json.loads(line.fields or b"")["done"] for line in capture.take()] == [49, 50]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((3, 10, "half"), {"done": 3, "total": 10, "note": "half"}),
        ((float("nan"), float("inf"), None), {"done": 0, "total": None, "note": None}),
        ((True, "10", "a\x00b"), {"done": 0, "total": None, "note": "a\ufffdb"}),
        ((10**30, 2.5, "x"), {"done": 0, "total": 2.5, "note": "x"}),
    ],
)
def test_progress_is_always_storable(given: tuple[object, object, object], kept: dict[str, object]) -> None:
    assert json.loads(encode_progress(*given)) == kept


def test_fields_of_any_kind_become_bounded_json() -> None:
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    assert encode_fields({}) is None
    assert json.loads(encode_fields({"n": 1, "at": object}) or b"")["n"] == 1
    assert "fields_unstorable" in json.loads(encode_fields(cycle) or b"")
    assert json.loads(encode_fields({"x": "y" * 20_000}) or b"")["fields_dropped_bytes"] > 20_000
