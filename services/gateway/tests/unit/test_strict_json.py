"""JSON as we accept it: the hostile table, and that harmless bodies are never refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_gateway.domain.strict_json import MalformedJson, nul_pointers, parse

DEEP = b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"
REFUSED: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"  ",
    "cut off": b'{"tool": "x"',
    "single quotes": b"{'tool': 'x'}",
    "trailing comma": b'{"tool": "x",}',
    "comment": b'{"tool": "x"} // run it',
    "two documents": b'{"tool": "x"}{"tool": "x"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "beyond a double": b'{"a": 1e999}',
    "401 digits": b'{"a": ' + b"9" * 401 + b"}",
    "401 digits, negative": b'{"a": -' + b"9" * 401 + b"}",
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "raw NUL": b'{"a": "b\x00c"}',
    "duplicate key": b'{"tool": "x", "tool": "y"}',
    "duplicate key, nested": b'{"a": {"b": 1, "b": 2}}',
    "duplicate key beside a text with colons": b'{"a": "b:c:d", "b": 1, "b": 2}',
    "duplicate key, written differently": b'{"a": 1, "\\u0061": 2}',
    "duplicate key in a list of objects": b'{"a": [{"b": 1}, {"c": 1, "c": 1}]}',
    "depth 40": DEEP,
    "depth 33": b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
    "depth 100,000": b"[" * 100_000 + b"]" * 100_000,
    "depth 20,000, never closed": b'{"a":' * 20_000,
    "10,001 members": b"{" + b",".join(b'"k%d":1' % n for n in range(10_001)) + b"}",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(MalformedJson) as refusal:
        parse(body)
    assert str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": {"a": {"a": 1}}}',
        b'{"a": "x:y, {\\"a\\": [1]}", "b": "\\\\"}',
        b'{"a": ' + b"9" * 400 + b"}",
        b'{"a": 0.' + b"1" * 900 + b"}",
        b'{"a": "' + b"1" * 900 + b'"}',
        b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
        b'{"a": [' + b",".join([b"[]"] * 500) + b"]}",
        b'{"a": "' + b"{[" * 500 + b'"}',
        b"{" + b",".join(b'"k%d":1' % n for n in range(10_000)) + b"}",
        b"[]",
        b"null",
    ],
)
def test_harmless_bodies_pass_unchanged(body: bytes) -> None:
    assert parse(body) == json.loads(body)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=5) | st.dictionaries(st.text(), below, max_size=5),
    max_leaves=20,
)


@given(trees)
def test_every_tree_survives(tree: object) -> None:
    text = json.dumps(tree, ensure_ascii=False).encode("utf-8", errors="replace")
    assert parse(text) == json.loads(text)


@given(st.dictionaries(st.text(), st.integers() | st.text(), min_size=1, max_size=6), st.integers(0, 5))
def test_a_repeated_key_is_always_found(members: dict[str, object], which: int) -> None:
    name = list(members)[which % len(members)]
    pairs = [*members.items(), (name, 1)]
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    with pytest.raises(MalformedJson):
        parse(text.encode())


def test_escaped_nuls_are_found_with_their_place() -> None:
    body = b'{"a": ["x", "\\u0000"], "b/c": {"d": "\\u0000"}, "e\\u0000": 1, "f": "\\\\u0000"}'
    assert nul_pointers(body, parse(body)) == ["/a/1", "/b~1c/d", "/e\\u0000"]
