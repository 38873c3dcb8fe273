from __future__ import annotations

import pytest
from jobyard_executor.worker import text
from jobyard_executor.worker.text import COPY_BYTES, LINE_BYTES, Copy, LineSplitter, bounded, harmless


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain", "plain"),
        ("tab\tstays\n", "tab\tstays\n"),
        ("a\x00b\x1b[31mc\rd\x7fe\x9bf", "a\ufffdb\ufffd[31mc\ufffdd\ufffde\ufffdf"),
        ("lone \udcff \ud800", "lone \ufffd \ufffd"),
        ("ünï 中 🎉", "ünï 中 🎉"),
    ],
)
def test_control_characters_become_harmless(given: str, kept: str) -> None:
    assert harmless(given) == kept


def test_lines_are_cut_only_at_newlines_however_the_bytes_arrive() -> None:
    content = "one\u2028still one\r\ntwo ünï\n\nfour".encode()
    for size in (1, 2, 3, 7, 1000):
        splitter = LineSplitter()
        lines = [line for at in range(0, len(content), size) for line in splitter.feed(content[at : at + size])]
        assert [*lines, *splitter.end()] == ["one\u2028still one\ufffd", "two ünï", "", "four"], size


def test_an_endless_line_is_one_bounded_line() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(100) for line in splitter.feed(b"x" * 50_000)]
    lines += splitter.feed(b"\nnext\n")
    assert len(lines) == 2
    assert len(lines[0].encode()) <= LINE_BYTES
    assert lines[0].endswith("[line cut]")
    assert lines[1] == "next"


def test_a_line_cut_inside_a_character_stays_valid() -> None:
    (line,) = LineSplitter().feed("🎉".encode() * LINE_BYTES + b"\n")
    assert len(line.encode()) <= LINE_BYTES
    assert "\ufffd" not in line


def test_the_copy_keeps_the_first_mebibyte_of_harmless_text() -> None:
    copy = Copy()
    copy.feed(b"\x00" * (COPY_BYTES - 1))
    copy.feed(b"end")
    assert len(copy.text().encode()) <= COPY_BYTES
    assert copy.truncated


def test_the_copy_of_a_short_stream_is_whole() -> None:
    copy = Copy()
    copy.feed(b"line 1\nline \xff\n")
    assert (copy.text(), copy.truncated) == ("line 1\nline \ufffd\n", False)


def test_lone_surrogates_stand_for_the_byte_they_came_from() -> None:
    assert text.encode("a\udcffb") == b"a\xffb"
    assert text.encode("a\ud800b") == b"a?b"


def test_a_bounded_message_says_that_it_was_cut() -> None:
    assert bounded("é" * 100, limit=50).endswith("[line cut]")
    assert len(bounded("é" * 100, limit=50).encode()) <= 50
