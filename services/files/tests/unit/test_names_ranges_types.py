"""Pure decisions about names, ranges and media types."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_files.domain.content_types import declared, essence, from_bytes, from_name
from jobyard_files.domain.names import MAX_BYTES, disposition, safe_name
from jobyard_files.domain.ranges import ByteRange, Unsatisfiable, asked_range, tag_matches


@given(st.text())
def test_a_safe_name_is_safe_and_stays_as_it_is(text):
    name = safe_name(text)
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert name not in (".", "..")
    assert not set(name) & set('/\\<>:"|?*')
    assert not [c for c in name if unicodedata.category(c)[0] == "C"]
    assert safe_name(name) == name


@given(st.text())
def test_a_disposition_is_one_ascii_line_that_carries_the_name(text):
    name = safe_name(text)
    header = disposition(name, inline=False)
    assert header.isascii() and header.isprintable()
    if "filename*" in header:
        assert unquote(header.partition("filename*=UTF-8''")[2]) == name
    else:
        assert header == f'attachment; filename="{name}"'


@pytest.mark.parametrize(
    ("given_name", "want"),
    [
        (".bashrc", ".bashrc"),
        ("a.", "a"),
        ("lpt1", "_lpt1"),
        ("a  b\t.txt", "a b.txt"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\ud800.txt", "txt"),
        ("dir/", "dir"),
        ("x" * 300, "x" * 255),
        ("\u00e9" * 200 + ".csv", "\u00e9" * 125 + ".csv"),
    ],
)
def test_names(given_name, want):
    assert safe_name(given_name) == want


@given(st.integers(0, 1000), st.one_of(st.none(), st.text(max_size=30), st.from_regex(r"bytes=\d{0,4}-\d{0,4}")))
def test_a_range_lies_within_the_content(size, header):
    found = asked_range(header, size=size)
    if isinstance(found, ByteRange):
        assert 0 <= found.first <= found.last < size
        assert found.length == found.last - found.first + 1


def test_ranges_of_an_empty_content_cannot_be_met():
    assert asked_range("bytes=0-", size=0) == Unsatisfiable()
    assert asked_range("bytes=-5", size=0) == Unsatisfiable()
    assert asked_range(None, size=0) is None


def test_tags():
    assert tag_matches('"a", W/"b"', '"b"', weak=True)
    assert not tag_matches('W/"b"', '"b"', weak=False)
    assert not tag_matches("*", '"b"', weak=False)
    assert not tag_matches(None, '"b"', weak=True)


def test_types():
    assert declared(" Text/CSV ; charset=utf-8 ") == "text/csv ; charset=utf-8"
    for text in ("", "text", "text/html\r\nx: y", "text/html; a=<b>", "a/b/c", "\u00e9/x", "x" * 200 + "/y", None):
        assert declared(text) is None
    assert from_name("a.tar.GZ") == "application/gzip"
    assert from_name("csv") is None
    assert from_bytes(b"RIFF\0\0\0\0WEBP") == "image/webp"
    assert from_bytes("\u65e5\u672c".encode()[:-1]) == "text/plain"
    assert from_bytes(b"\xff\xfe\xfd") == "application/octet-stream"
    assert from_bytes(b"") == "application/octet-stream"
    assert essence("text/html; charset=utf-8") == "text/html"
